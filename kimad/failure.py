"""A failure on one rank ends on every rank, with its cause named.

A peer of a failed rank sees no more than a closed connection. So the failing rank writes who, when, where and why
to the group's store, closes its group, and stays for a moment; peers read the store before they raise.
"""

from __future__ import annotations

import json
import time
from typing import Protocol, final

KEY = "kimad/failure"
LINGER_S = 2.0  # s, how long the failing rank stays for its peers to read
POLL_S = 0.02


class Store(Protocol):
    """The part of torch's store that is used."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def add(self, key: str, amount: int) -> int: ...


@final
class FailureBoard:
    """The place in the group's store where a failing rank leaves its cause."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self._store = store
        self.rank, self.world_size = rank, world_size
        self._mine = False

    def report(self, step: int, layer: str, cause: BaseException) -> None:
        """Say that this rank fails; an earlier report of another rank is kept."""
        text = {"rank": self.rank, "step": step, "layer": layer, "cause": f"{type(cause).__name__}: {cause}"}
        try:
            if self._store.add(f"{KEY}/reports", 1) == 1:
                self._store.set(KEY, json.dumps(text))
                self._mine = True
            else:  # this rank waits for no report any more
                self._store.add(f"{KEY}/read", 1)
        except RuntimeError:  # the store is gone as well; peers see the closed connection
            return

    def read(self, wait_s: float = LINGER_S) -> str | None:
        """What another rank reported, or None if nobody did within `wait_s` seconds."""
        deadline_s = time.monotonic() + wait_s
        try:
            while not self._store.check([KEY]):
                if time.monotonic() > deadline_s:
                    return None
                time.sleep(POLL_S)
            text = json.loads(self._store.get(KEY))
            self._store.add(f"{KEY}/read", 1)
        except (RuntimeError, ValueError):
            return None
        return f"rank {text['rank']} failed at step {text['step']}, {text['layer']}: {text['cause']}"

    def linger(self) -> None:
        """On the rank that reported: wait until all others have read, at most LINGER_S seconds."""
        if not self._mine:
            return
        self._mine = False
        deadline_s = time.monotonic() + LINGER_S
        try:
            while time.monotonic() < deadline_s and self._store.add(f"{KEY}/read", 0) < self.world_size - 1:
                time.sleep(POLL_S)
        except RuntimeError:
            return

"""How much to send to measure a link: more and more, until it takes long enough to say something.

Both ends are told what arrived, so both keep the same account and come to the same sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

START_BYTES = 64 << 10
MAX_BYTES = 1 << 30  # of one transfer
GROWTH = 8  # times as much as before, at most: what fits into buffers and bursts says little of the link
LONG_ENOUGH = 0.25  # of the wanted seconds: a shorter transfer only says how much to send next
DONE = 0.8  # of the wanted seconds
SHORTEST_S = 1e-6


@final
@dataclass(frozen=True)
class Arrival:
    """What came in, from the arrival of the first piece to that of the last one."""

    bytes: int = 0  # without the first piece
    seconds: float = 0.0

    @property
    def bps(self) -> float:
        """Bit/s; 0 where nothing came."""
        return 8 * self.bytes / max(self.seconds, SHORTEST_S)


@final
class Rounds:
    """One direction of a link. seconds: how long what is counted shall take in all."""

    def __init__(self, seconds: float, first_bytes: int = START_BYTES) -> None:
        self._seconds = seconds
        self.next_bytes = min(MAX_BYTES, max(START_BYTES, first_bytes))
        self.total = Arrival()

    @property
    def done(self) -> bool:
        """Whether enough has been counted."""
        return self.total.seconds >= DONE * self._seconds

    def add(self, seen: Arrival) -> None:
        """Take in what came of `next_bytes`."""
        if seen.seconds >= LONG_ENOUGH * self._seconds or self.next_bytes >= MAX_BYTES:
            self.total = Arrival(self.total.bytes + seen.bytes, self.total.seconds + max(seen.seconds, SHORTEST_S))
        self.next_bytes = self._size(seen.bps, self._seconds - self.total.seconds)

    def _size(self, bps: float, left_s: float) -> int:
        wanted = int(bps / 8 * max(left_s, LONG_ENOUGH * self._seconds))
        return min(MAX_BYTES, max(START_BYTES, min(wanted, GROWTH * self.next_bytes)))

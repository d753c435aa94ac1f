"""Replays traces on the links of a testbed, a cell of constant rate after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from kimad.launch.testbed.bed import Testbed
from kimad.launch.testbed.counters import LinkBytes
from kimad.launch.testbed.enter import hurry
from kimad.trace import HostLink, Link

STEP_S = 0.1  # length of a cell
_MIN_SHARE = 0.05  # of a cell's rate that is left at least when a late change is made up for
_NO_DEBT_MBIT = 1e-9  # rounding


@final
@dataclass(frozen=True)
class Cell:
    """What all links do until the next cell."""

    monotonic_s: float  # when it was set
    t_s: float  # since the start of the traces
    up_mbps: tuple[float, ...]  # by host; the trace's mean over the cell, 0 in an outage
    down_mbps: tuple[float, ...]
    carried: tuple[LinkBytes, ...]  # by host, since the start


@final
class Player:
    """One thread. `tell` is called with each cell once it is set, from that thread."""

    def __init__(
        self,
        bed: Testbed,
        links: Sequence[HostLink],
        step_s: float = STEP_S,
        tell: Callable[[Cell], None] | None = None,
    ) -> None:
        self._bed = bed
        self._links = links
        self._step_s = step_s
        self._tell = tell
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._set: dict[tuple[int, bool], Setting] = {}
        self._base: list[LinkBytes] = []
        self.failure: str | None = None  # why it ended early

    def start(self, start_s: float) -> None:
        """Set the first cell now and start the traces at this reading of the monotonic clock."""
        self._base = self._bed.carried()
        self._apply(0.0, start_s)
        self._thread = threading.Thread(target=self._run, args=(start_s,), name="kimad-player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the replay; the links keep their last rates. May be called again, and without a start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, start_s: float) -> None:
        hurry()
        try:
            if self._stop.wait(max(0.0, start_s - time.monotonic())):
                return
            self._report(start_s)
            while True:
                now_s = time.monotonic() - start_s
                next_s = (int(now_s / self._step_s + 1e-6) + 1) * self._step_s
                if self._stop.wait(start_s + next_s - time.monotonic()):
                    break
                self._apply(time.monotonic() - start_s, start_s)
                self._report(start_s)
            self._report(start_s)
        except Exception as error:  # reported by whoever asks for `failure`: this thread has no caller
            self.failure = f"{type(error).__name__}: {error}"

    def _apply(self, now_s: float, start_s: float) -> None:
        """Set the cell that `now_s` lies in."""
        index = int(now_s / self._step_s + 1e-6)
        a_s, b_s = index * self._step_s, (index + 1) * self._step_s
        for host, link in enumerate(self._links):
            rates = []
            changed = False
            for up, one in ((True, link.up), (False, link.down)):
                setting = self._set.get((host, up))
                mean = one.mean_mbps(a_s, b_s)
                now = Setting(mean, mean, now_s) if setting is None else setting.next(one, mean, now_s, b_s)
                changed |= setting is None or now.rate_mbps != setting.rate_mbps
                self._set[host, up] = now
                rates.append(now.rate_mbps)
            if changed:
                self._bed.set_rate(host, up_mbps=rates[0], down_mbps=rates[1])

    def _report(self, start_s: float) -> None:
        if self._tell is None:
            return
        now_s = time.monotonic()
        carried = tuple(
            LinkBytes(n.up_bytes - b.up_bytes, n.down_bytes - b.down_bytes)
            for n, b in zip(self._bed.carried(), self._base, strict=True)
        )
        up = tuple(self._set[host, True].mean_mbps for host in range(len(self._links)))
        down = tuple(self._set[host, False].mean_mbps for host in range(len(self._links)))
        self._tell(Cell(now_s, max(0.0, now_s - start_s), up, down, carried))


@final
@dataclass(frozen=True)
class Setting:
    """What one direction of one link is set to."""

    mean_mbps: float  # the trace's, over its cell
    rate_mbps: float  # that was set
    since_s: float  # of the trace
    debt_mbit: float = 0.0  # carried before that, beyond what the trace had

    def next(self, link: Link, mean_mbps: float, now_s: float, end_s: float) -> Setting:
        """The setting of the next cell: its rate, less what was carried too much because it is set late.

        What a late change carried too little is lost: a link that delivers less than its trace is still true to it.
        """
        due_mbps = link.mean_mbps(self.since_s, now_s)
        debt_mbit = max(0.0, self.debt_mbit + (self.rate_mbps - due_mbps) * (now_s - self.since_s))
        if debt_mbit < _NO_DEBT_MBIT:
            return Setting(mean_mbps, mean_mbps, now_s)
        rate_mbps = max(_MIN_SHARE * mean_mbps, mean_mbps - debt_mbit / max(end_s - now_s, 1e-3))
        return Setting(mean_mbps, rate_mbps, now_s, debt_mbit)

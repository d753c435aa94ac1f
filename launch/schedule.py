"""At which rate to pace, so that what is sent follows the trace although the kernel's quantum is large.

The kernel sends a quantum (two segments: 128 KiB on loopback), then waits quantum / rate with the
rate in force when it was sent. On a slow or dead link that wait is seconds, in which the trace may
have changed. So the rate is the trace's mean over the very time that the quantum will take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from kimad.trace import Link

FLOOR_BPS = 8000.0  # bit/s; a dead link still carries this much, since a rate of 0 cannot be set
_SETTLE_S = 0.1  # what was sent too early is taken back over about this time


def capacity_bits(link: Link, start_s: float, end_s: float) -> float:
    """What the link carries in [start_s, end_s]: its integral, or that of the floor where that is more."""
    return max(link.mean_mbps(start_s, end_s) * 1e6, FLOOR_BPS) * (end_s - start_s)


def finish_s(link: Link, start_s: float, bits: float) -> float:
    """Time at which a link that starts at `start_s` has carried `bits`, within 1 %."""
    if bits <= 0:
        return start_s
    span_s = bits / max(link.mbps(start_s) * 1e6, FLOOR_BPS)
    for _ in range(3):
        carried = capacity_bits(link, start_s, start_s + span_s)
        if abs(carried - bits) <= 0.01 * bits:
            return start_s + span_s
        span_s *= bits / carried
    low_s, high_s = 0.0, bits / FLOOR_BPS
    while high_s - low_s > 1e-4 + 0.001 * high_s:
        middle_s = (low_s + high_s) / 2
        if capacity_bits(link, start_s, start_s + middle_s) < bits:
            low_s = middle_s
        else:
            high_s = middle_s
    return start_s + high_s


@final
@dataclass(frozen=True, slots=True)
class Rates:
    """What to set on the sockets of a rank, together."""

    now_bps: float  # for the quantum that is sent next
    after_bps: float  # for the one after it; not below now_bps
    quantum_s: float  # how long the link takes for one quantum now


@final
class Schedule:
    """The clock of an ideal link: `busy_until_s` is when it would have carried all that was sent.

    A real link banks nothing: while it is idle that clock runs with the time.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._looked_s = 0.0  # time of the latest `spend`
        self.busy_until_s = 0.0

    def spend(self, now_s: float, sent_bytes: int) -> None:
        """Account for what was sent since the latest call."""
        start_s = max(self.busy_until_s, self._looked_s)
        self.busy_until_s = finish_s(self._link, start_s, sent_bytes * 8)
        self._looked_s = now_s

    def rates(self, now_s: float, quantum_bytes: int) -> Rates:
        """Rates of the whole rank, when it sends quanta of `quantum_bytes` in all."""
        bits = quantum_bytes * 8
        quantum_s = finish_s(self._link, now_s, bits) - now_s
        next_s = max(now_s, self.busy_until_s)
        then_s = finish_s(self._link, next_s, bits)
        debt_s = max(0.0, self.busy_until_s - now_s - quantum_s)
        settle_s = max(quantum_s, _SETTLE_S)
        now_bps = bits / (then_s - next_s) * settle_s / (settle_s + debt_s)
        if quantum_s < _SETTLE_S / 2:  # the next quantum is near enough: one rate serves
            return Rates(now_bps, now_bps, quantum_s)
        after_bps = bits / (finish_s(self._link, then_s, bits) - then_s)
        return Rates(now_bps, max(now_bps, after_bps), quantum_s)

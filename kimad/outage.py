"""Outages: seconds in which the network moved next to nothing, told from late ranks and slow links.

    usual_s   = median seconds on the wire of the latest 7 steps · max(1, bytes of this step / median bytes of theirs)
    outage_s  = wire_s - usual_s     if wire_s is a second or more, and 20 times the usual

wire_s is the least over ranks: a late rank makes the others wait, but does not wait itself. What a step takes to agree
on the next plan is compared in the same way. No step is one before three are known.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import final

import numpy as np
from numpy.typing import NDArray

LEAST_S = 1.0  # that an outage lasts
FACTOR = 20.0  # times the usual, likewise
STEPS, FEWEST = 7, 3  # that say what is usual


@final
class Outages:
    """Looks at one step after the other."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, float]] = deque(maxlen=STEPS)  # seconds on the wire, bytes, agreeing

    def seconds(self, wire_s: NDArray[np.float64], wire_bytes: float, agreement_s: float = 0.0) -> float:
        """Of the outage in a step; 0 if there was none. wire_s: (N,) of each rank."""
        least_s = float(wire_s.min())
        known = len(self._steps) >= FEWEST
        usual_s, usual_bytes, usual_agreement_s = (
            (statistics.median(column) for column in zip(*self._steps, strict=True)) if known else (0.0, 0.0, 0.0)
        )
        self._steps.append((least_s, wire_bytes, agreement_s))
        if not known:
            return 0.0
        more = max(1.0, wire_bytes / usual_bytes) if usual_bytes > 0 else 1.0
        return _beyond(least_s, usual_s * more) + _beyond(agreement_s, usual_agreement_s)


def _beyond(seconds: float, usual_s: float) -> float:
    return seconds - usual_s if seconds >= max(LEAST_S, FACTOR * usual_s) else 0.0

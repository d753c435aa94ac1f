"""Do no harm by changing: plans far from the one in force must be better by more than clocks and samples are wrong.

    near, far = best score of the plans with about as many bytes as the one in force, and of all others
    regret    = max(0, regret + far - near - margin);   the plan far away is taken where regret >= LIMIT

Scores are logarithms of progress a second, all at the present forecast: regret is the share of a step that staying has
cost so far. A change that pays a lot is made at once, one that pays little after some steps, and noise adds up to none.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@final
class Regime:
    """The part of the frontier that is in use: where it is, and what staying there has cost."""

    WITHIN = 1.5  # times as many bytes or as few belong to it
    SHORTER, LONGER = 0.0, 0.01  # a step's regret that is no reason to go to shorter steps, or to longer ones
    LIMIT = 0.05  # regret at which it is left

    def __init__(self) -> None:
        self._bytes: float | None = None
        self._regret = 0.0

    def nearest(self, wire_bytes: Floats) -> int | None:
        """Index of the plan with about as many bytes as the one in force; None before the first one."""
        if self._bytes is None:
            return None
        return int(np.argmin(_distance(wire_bytes, self._bytes)))

    def stay(self, score: Floats, wire_bytes: Floats, step_s: Floats) -> int | None:
        """Index of the best plan of this regime, or None where it is to be left now. Takes in a step's regret."""
        if self._bytes is None:
            return None
        distance = _distance(wire_bytes, self._bytes)
        alike = distance <= max(np.log(self.WITHIN), distance.min())
        near = int(np.argmax(np.where(alike, score, -np.inf)))
        if alike.all():
            return near
        best = int(np.argmax(np.where(alike, -np.inf, score)))
        margin = self.LONGER if step_s[best] > step_s[near] else self.SHORTER
        self._regret = max(0.0, self._regret + float(score[best] - score[near]) - margin)
        if self._regret < self.LIMIT:
            return near
        self._regret = 0.0
        return None

    def enter(self, wire_bytes: float) -> None:
        """The plan taken has so many bytes."""
        self._bytes = wire_bytes


def far(wire_bytes: Floats, own: float) -> NDArray[np.bool_]:
    """Which plans belong to another regime than one with so many bytes."""
    found: NDArray[np.bool_] = _distance(wire_bytes, own) > np.log(Regime.WITHIN)
    return found


def _distance(wire_bytes: Floats, own: float) -> Floats:
    distance: Floats = np.abs(np.log(np.maximum(wire_bytes, 1.0)) - np.log(max(own, 1.0)))
    return distance

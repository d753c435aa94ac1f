"""Bounded staleness: which layers have waited too long, and how much of them must now be sent.

Two rules, both told to the menu before anything is chosen from it, so that what they cost is weighed with all the rest:

    dropped for S steps             the layer may not be dropped
    owed > R * |gradient|^2         at least 1/R of what it owes is sent: more than comes in, so that it owes less

owed = |residual + gradient|^2, and both are sums over ranks, read with the error curves. Between two readings what is
owed is carried on, successive gradients being taken as independent:

    owed' = share left behind by the plan * owed + |gradient|^2

The second rule asks for 1/R of what a layer owes, however much that is: a backlog is never flushed at once. It holds
for a layer of which so few entries are sent that its residual grows as well as for one that is dropped.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NEWEST = 0.5  # weight of the latest reading of a gradient's energy, as of the error curves


@final
class Staleness:
    """What the layers of one model have waited for. Arrays have one number a layer."""

    def __init__(self, layers: int, max_drop_steps: int, max_owed_factor: float) -> None:
        self._max_drop_steps = max_drop_steps
        self._max_owed_factor = max_owed_factor
        self._dropped = np.zeros(layers, np.int64)  # steps in a row
        self._left = np.ones(layers)  # share of what is owed that the plan in force leaves behind
        self._gradient = np.zeros(layers)
        self._owed = np.zeros(layers)  # in the step to come
        self._readings = 0

    def read(self, owed: Floats, gradient: Floats) -> None:
        """Take in |residual + gradient|^2 and |gradient|^2 of a finished step; nothing if a sum overflowed."""
        if not (np.isfinite(owed).all() and np.isfinite(gradient).all()):
            return
        weight = NEWEST if self._readings else 1.0
        self._gradient = self._gradient + weight * (gradient - self._gradient)
        self._owed = self._left * owed + self._gradient
        self._readings += 1

    def planned(self, dropped: Bools, left: Floats) -> None:
        """A plan was taken for the step to come. left: share of what is owed that it leaves behind."""
        self._dropped = np.where(dropped, self._dropped + 1, 0)
        self._left = left
        self._owed = left * self._owed + self._gradient

    @property
    def overdue(self) -> Bools:
        """Layers that may not be dropped in the step to come."""
        return self._dropped >= self._max_drop_steps

    @property
    def least_share(self) -> Floats:
        """Share of what each layer owes that must be sent of it in the step to come; 0 where nothing must."""
        starved = self._owed > self._max_owed_factor * self._gradient
        return np.where(starved, min(1.0, 1 / self._max_owed_factor), 0.0)

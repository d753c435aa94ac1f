"""A quantile of the recent samples: the median, which one odd sample does not move."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class Quantile(Level):
    """Weighted quantile of the last 5 samples. Time constant: a change is followed whole by the third equal sample."""

    KEPT = 5  # samples

    def __init__(self, links: int = 1, quantile: float = 0.5) -> None:
        self._quantile = quantile
        # Of each link its latest samples, the newest last; a place without a sample weighs nothing.
        self._logs, self._weights = np.zeros((2, links, self.KEPT))
        self._level = np.zeros(links)

    def update(self, evidence: Evidence) -> None:
        for kept, new in ((self._logs, evidence.log_bps), (self._weights, evidence.weight)):
            pushed = np.concatenate([kept[:, 1:], new[:, None]], axis=1)
            np.copyto(kept, pushed, where=evidence.seen[:, None])
        there = self._weights > 0
        # A missing sample stands at the newest one and weighs nothing.
        logs = np.where(there, self._logs, self._logs[:, -1:])
        self._level = weighted_quantiles(logs, self._weights, self._quantile)

    def log_bps(self) -> Floats:
        return self._level


def weighted_quantiles(values: Floats, weights: Floats, quantile: float) -> Floats:
    """Quantile of each row of weighted values: each stands at the middle of its weight, linear in between."""
    order = np.argsort(values, axis=1)
    values, weights = np.take_along_axis(values, order, 1), np.take_along_axis(weights, order, 1)
    total = weights.sum(axis=1, keepdims=True)
    middles = (np.cumsum(weights, axis=1) - weights / 2) / np.where(total > 0, total, 1.0)
    last = values.shape[1] - 1
    above = (middles <= quantile).sum(axis=1)
    left, right = np.clip(above - 1, 0, last), np.clip(above, 0, last)
    rows = np.arange(len(values))
    width = middles[rows, right] - middles[rows, left]
    share = np.where(width > 0, (quantile - middles[rows, left]) / np.where(width > 0, width, 1.0), 0.0)
    found: Floats = values[rows, left] + share * (values[rows, right] - values[rows, left])
    return found

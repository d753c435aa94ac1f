"""Average of the recent samples, each counting half as much as the next."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class DecayedAverage(Level):
    """sum = kept · sum + weight · bps, weights = kept · weights + weight, level = ln(sum / weights).

    Time constant: half of a change after one sample of equal weight, 15/16 after four; after `half_life_s` and more
    between two samples the older one counts less still.
    """

    def __init__(self, links: int = 1) -> None:
        self._weights = np.zeros(links)
        self._mean_bps = np.ones(links)

    def update(self, evidence: Evidence) -> None:
        old = np.where(evidence.seen, evidence.kept, 1.0) * self._weights
        self._weights = old + evidence.weight
        gain = evidence.weight / np.where(evidence.seen, self._weights, 1.0)
        self._mean_bps += gain * (np.exp(evidence.log_bps) - self._mean_bps)

    def log_bps(self) -> Floats:
        return np.log(self._mean_bps)

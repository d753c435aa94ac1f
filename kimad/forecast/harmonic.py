"""Harmonic mean: the rate at which the bytes of the recent samples would have gone."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class Harmonic(Level):
    """pace = average of 1 / bps, weights halved every 4 samples; level = -ln(pace). A slow sample counts most.

    Time constant: half of a change of pace after 4 samples of equal weight.
    """

    HALF_LIFE = 4  # samples

    def __init__(self, links: int = 1) -> None:
        self._weights = np.zeros(links)
        self._pace = np.ones(links)  # s/bit

    def update(self, evidence: Evidence) -> None:
        kept = np.where(evidence.seen, 0.5 ** (1 / self.HALF_LIFE), 1.0)
        self._weights = kept * self._weights + evidence.weight
        gain = evidence.weight / np.where(evidence.seen, self._weights, 1.0)
        self._pace += gain * (np.exp(-evidence.log_bps) - self._pace)

    def log_bps(self) -> Floats:
        return -np.log(self._pace)

"""Several levels at once, of which those count that were right of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class Switching(Level):
    """Mean of other levels, each weighed by its running score:

        score_i = score_i + g · (|ln bps - level_i| - score_i)
        level   = sum of level_i / (score_i + 1 %)^p, over the sum of the weights

    One that is off half as much counts 2^p = 256 times as much, so that nearly always one of them is taken. A small
    sample scores as a large one does: it is the same for all. Time constant: after a jump, which is far more than they
    had been better by, averages have lost against the newest sample by the third one (g = 1/20).
    """

    GAIN = 1 / 20  # g; the first scores are plain averages
    POWER = 8  # p
    FLOOR = 0.01  # who is right within 1 % is as good as who is always right

    def __init__(self, levels: Sequence[Level], links: int = 1) -> None:
        self._levels = tuple(levels)
        self._expected = np.zeros((len(self._levels), links))
        self._scores = np.zeros((len(self._levels), links))
        self._count = np.zeros(links)  # samples, the first of which scores nobody
        self._level = np.zeros(links)

    def update(self, evidence: Evidence) -> None:
        off = np.abs(evidence.log_bps - self._expected)
        gain = np.maximum(self.GAIN, 1 / np.maximum(self._count, 1.0)) * (evidence.seen & (self._count > 0))
        self._scores += gain * (off - self._scores)
        self._count += evidence.seen
        for level in self._levels:
            level.update(evidence)
        self._expected = np.stack([level.log_bps() for level in self._levels])
        weights = (self._scores + self.FLOOR) ** -self.POWER
        self._level = (weights * self._expected).sum(axis=0) / weights.sum(axis=0)

    def log_bps(self) -> Floats:
        return self._level

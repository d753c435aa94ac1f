"""Holt's linear method: a level and a trend, on the logarithm of the rate."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class Holt(Level):
    """Exponential smoothing with a trend (Holt 1957, Gardner's damping):

        expected = level + trend,  e = share · (ln bps - expected)
        level = expected + α · e,  trend = φ · (trend + α · β · e)

    A step is what passes between two samples, whatever it takes. Time constant: the share of a change that remains
    shrinks by 1 - α a sample (α = .8: a fifth after one, a twentieth after two), and the trend overshoots by up to
    α · β of it.
    """

    LEVEL, TREND, DAMPING = 0.8, 0.4, 0.9  # α, β, φ
    STEEPEST = 0.7  # ln of the most by which the next rate may be another: twofold

    def __init__(self, links: int = 1) -> None:
        self._level, self._trend = np.zeros(links), np.zeros(links)
        self._known = np.zeros(links, bool)

    def update(self, evidence: Evidence) -> None:
        expected = self.log_bps()
        off = evidence.share * (evidence.log_bps - expected)
        first = evidence.seen & ~self._known
        level = expected + np.where(first, 1.0, self.LEVEL) * off
        trend = self.DAMPING * (self._trend + np.where(first, 0.0, self.LEVEL * self.TREND) * off)
        np.copyto(self._level, level, where=evidence.seen)
        np.copyto(self._trend, np.minimum(np.maximum(trend, -self.STEEPEST), self.STEEPEST), where=evidence.seen)
        self._known |= evidence.seen

    def log_bps(self) -> Floats:
        return self._level + self._trend

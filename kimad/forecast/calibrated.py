"""A level with its doubts: mean, low quantile, spread and age of N links' next rates."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.doubt import Doubt
from kimad.forecast.evidence import MAX_BPS, MIN_BPS, Weighing
from kimad.forecast.interface import Estimator, Forecasts, Level
from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]
LOWEST, HIGHEST = math.log(MIN_BPS), math.log(MAX_BPS)


@final
class Calibrated(Estimator):
    """Any level; samples are weighed before it, and its low quantile is calibrated behind it."""

    SOLID_BYTES, SOLID_S = 256 << 10, 50e-3  # a sample of so many bytes, or so long a one, measures the link

    def __init__(self, level: Level, half_life_s: float, low_quantile: float, links: int = 1) -> None:
        self._level = level
        self._weighing = Weighing(half_life_s, links)
        self._doubt = Doubt(low_quantile, links)
        self._known = np.zeros(links, bool)
        self._newest_s = np.zeros(links)
        self._solid_s = np.full(links, -math.inf)

    @property
    def ignored(self) -> int:
        return self._weighing.ignored

    def update(self, samples: LinkSamples) -> None:
        evidence = self._weighing.weigh(samples)
        self._doubt.update(self._level.log_bps(), evidence, self._known)
        self._level.update(evidence)
        self._known |= evidence.seen
        self._newest_s[evidence.seen] = samples.time_s
        solid = (samples.bytes >= self.SOLID_BYTES) | (samples.busy_s >= self.SOLID_S)
        self._solid_s[evidence.seen & solid] = samples.time_s

    def forecast(self, now_s: float) -> Forecasts:
        level = np.where(self._known, self._level.log_bps(), np.nan)
        low = self._doubt.low(level, np.fmax(now_s - self._newest_s, 0.0))
        mean_bps, low_bps = (np.exp(np.minimum(np.maximum(logs, LOWEST), HIGHEST)) for logs in (level, low))
        return Forecasts(mean_bps, low_bps, self._doubt.scale.copy(), now_s - self._solid_s)

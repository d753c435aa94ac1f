"""A level with its doubts: mean, low quantile, spread and age of N links' next rates."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.doubt import SHORTEST_S, Doubt
from kimad.forecast.evidence import FULL_WEIGHT_S, MAX_BPS, MIN_BPS, Weighing
from kimad.forecast.interface import Estimator, Forecasts, Level
from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]
LOWEST, HIGHEST = math.log(MIN_BPS), math.log(MAX_BPS)


@final
class Calibrated(Estimator):
    """Any level; samples are weighed before it, and its low quantile is calibrated behind it.

    Latency and scheduling may have cost a sample the seconds that a full one lasts, so the high rate of a short one is
    higher.
    """

    def __init__(self, level: Level, half_life_s: float, low_quantile: float, links: int = 1) -> None:
        self._level = level
        self._weighing = Weighing(half_life_s, links)
        self._doubt = Doubt(low_quantile, links)
        self._known = np.zeros(links, bool)
        self._newest_s = np.zeros(links)
        self._lost = np.ones(links)  # (seconds of the newest sample + those that it may have lost) / its seconds

    @property
    def ignored(self) -> int:
        return self._weighing.ignored

    def update(self, samples: LinkSamples) -> None:
        evidence = self._weighing.weigh(samples)
        self._doubt.update(self._level.log_bps(), evidence, self._known)
        self._level.update(evidence)
        self._known |= evidence.seen
        self._newest_s[evidence.seen] = samples.time_s
        busy_s = np.maximum(np.where(evidence.seen, samples.busy_s, 1.0), SHORTEST_S)
        np.copyto(self._lost, 1 + FULL_WEIGHT_S / busy_s, where=evidence.seen)

    def forecast(self, now_s: float) -> Forecasts:
        level = np.where(self._known, self._level.log_bps(), np.nan)
        age_s = now_s - self._newest_s
        low, high = (bound(level, np.fmax(age_s, 0.0)) for bound in (self._doubt.low, self._doubt.high))
        mean_bps, low_bps, high_bps = (
            np.exp(np.minimum(np.maximum(logs, LOWEST), HIGHEST)) for logs in (level, low, high + np.log(self._lost))
        )
        return Forecasts(mean_bps, low_bps, self._doubt.scale.copy(), age_s, high_bps)

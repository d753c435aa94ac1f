"""Forecasts of a link's rate, from samples to a mean and a low quantile. One class an estimator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import LinkSample

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected rate of the next transfers, in bit/s."""

    mean_bps: float
    low_bps: float  # what is planned on
    spread: float  # standard deviation over mean
    age_s: float  # s since a transfer big enough to measure the link


class Estimator(ABC):
    """Turns the samples of one link into forecasts."""

    @abstractmethod
    def update(self, sample: LinkSample) -> None:
        """Take in a sample, in order of time."""

    @abstractmethod
    def forecast(self, now_s: float) -> Forecast | None:
        """The forecast at an instant of the monotonic clock, or None before the first sample."""


@final
class DecayedAverage(Estimator):
    """Average of recent samples, and a low quantile of them.

    A sample counts 2^(-d), d the number of newer samples or age / half_life, whichever is larger; times its bytes up to
    1 MB and its time up to 5 ms, because small transfers and those too short to be timed well say little.
    """

    FULL_WEIGHT_BYTES = 1_000_000
    FULL_WEIGHT_S = 5e-3
    SOLID_BYTES = 256 << 10  # a sample from here on measures the link
    KEPT = 32  # samples; what is older counts for nothing

    def __init__(self, half_life_s: float, low_quantile: float) -> None:
        self._half_life_s = half_life_s
        self._low_quantile = low_quantile
        self._samples: deque[LinkSample] = deque(maxlen=self.KEPT)
        self._solid_s = -math.inf

    def update(self, sample: LinkSample) -> None:
        self._samples.append(sample)
        if sample.bytes >= self.SOLID_BYTES:
            self._solid_s = sample.time_s

    def forecast(self, now_s: float) -> Forecast | None:
        if not self._samples:
            return None
        time_s, bps, size, busy_s = np.array([(s.time_s, s.bps, s.bytes, s.busy_s) for s in self._samples]).T
        halvings = np.maximum(np.arange(len(bps))[::-1], (time_s[-1] - time_s) / self._half_life_s)
        weight = np.minimum(1, size / self.FULL_WEIGHT_BYTES) * np.minimum(1, busy_s / self.FULL_WEIGHT_S)
        weight *= 0.5**halvings
        mean = float(np.average(bps, weights=weight))
        spread = math.sqrt(float(np.average((bps - mean) ** 2, weights=weight))) / mean
        low = min(mean, weighted_quantile(bps, weight, self._low_quantile))
        return Forecast(mean, low, spread, now_s - self._solid_s)


def weighted_quantile(values: Floats, weights: Floats, quantile: float) -> float:
    """Quantile of weighted values: each stands at the middle of its weight, linear in between."""
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    middles = (np.cumsum(weights) - weights / 2) / weights.sum()
    return float(np.interp(quantile, middles, values))

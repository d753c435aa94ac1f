"""Forecasts of a link's rate, from samples to a mean and a low quantile. One class an estimator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import final

from kimad.monitor import LinkSample


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
    """Average in which a sample counts 2^(-age/half_life), times its bytes up to 1 MB and its time up to 5 ms.

    Small transfers, and those too short to be timed well, weigh little.
    low = mean - caution x standard deviation, at least a tenth of the mean.
    """

    FULL_WEIGHT_BYTES = 1_000_000
    FULL_WEIGHT_S = 5e-3
    SOLID_BYTES = 256 << 10  # a sample from here on measures the link
    KEPT = 64  # samples

    def __init__(self, half_life_s: float, caution: float) -> None:
        self._half_life_s = half_life_s
        self._caution = caution
        self._samples: deque[LinkSample] = deque(maxlen=self.KEPT)
        self._solid_s = -math.inf

    def update(self, sample: LinkSample) -> None:
        self._samples.append(sample)
        if sample.bytes >= self.SOLID_BYTES:
            self._solid_s = sample.time_s

    def forecast(self, now_s: float) -> Forecast | None:
        if not self._samples:
            return None
        newest_s = self._samples[-1].time_s
        weight = mean = square = 0.0
        for s in self._samples:
            size = min(1.0, s.bytes / self.FULL_WEIGHT_BYTES) * min(1.0, s.busy_s / self.FULL_WEIGHT_S)
            w = size * 0.5 ** ((newest_s - s.time_s) / self._half_life_s)
            weight, mean, square = weight + w, mean + w * s.bps, square + w * s.bps * s.bps
        mean /= weight
        deviation = math.sqrt(max(0.0, square / weight - mean * mean))
        low = max(0.1 * mean, mean - self._caution * deviation)
        return Forecast(mean, low, deviation / mean, now_s - self._solid_s)

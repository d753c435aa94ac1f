"""Forecasts of a link's rate, from samples to a mean and a low quantile. One class an estimator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected rate of the next transfers, in bit/s."""

    mean_bps: float
    low_bps: float  # what is planned on
    spread: float  # standard deviation over mean
    age_s: float  # s since a transfer big enough to measure the link


@final
@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N links. Where nothing is known, rates are NaN."""

    mean_bps: Floats  # (N,)
    low_bps: Floats  # (N,)
    spread: Floats  # (N,)
    age_s: Floats  # (N,)

    def slowest(self) -> Forecast | None:
        """That of the link with the smallest low rate, or None until every link has been measured."""
        if not len(self.low_bps) or np.isnan(self.low_bps).any():
            return None
        i = int(self.low_bps.argmin())
        return Forecast(*(float(column[i]) for column in (self.mean_bps, self.low_bps, self.spread, self.age_s)))


class Estimator(ABC):
    """Turns the samples of N links into forecasts, of each link by itself."""

    @abstractmethod
    def update(self, samples: LinkSamples) -> None:
        """Take in what a step told, in order of time."""

    @abstractmethod
    def forecast(self, now_s: float) -> Forecasts:
        """The forecasts at an instant of the monotonic clock."""


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

    def __init__(self, half_life_s: float, low_quantile: float, links: int = 1) -> None:
        self._half_life_s = half_life_s
        self._low_quantile = low_quantile
        # Of each link its latest samples, the newest last; a place without a sample weighs nothing.
        self._time_s, self._bps, self._size = np.zeros((3, links, self.KEPT))
        self._count = np.zeros(links, np.int64)
        self._solid_s = np.full(links, -math.inf)

    def update(self, samples: LinkSamples) -> None:
        seen = samples.bytes > 0
        size = np.minimum(1, samples.bytes / self.FULL_WEIGHT_BYTES)
        size *= np.minimum(1, samples.busy_s / self.FULL_WEIGHT_S)
        for kept, new in ((self._time_s, samples.time_s), (self._bps, samples.bps), (self._size, size)):
            pushed = np.roll(kept, -1, axis=1)
            pushed[:, -1] = new
            np.copyto(kept, pushed, where=seen[:, None])
        self._count += seen
        self._solid_s[samples.bytes >= self.SOLID_BYTES] = samples.time_s

    def forecast(self, now_s: float) -> Forecasts:
        newer = np.arange(self.KEPT)[::-1]
        there = newer < self._count[:, None]
        halvings = np.maximum(newer, (self._time_s[:, -1:] - self._time_s) / self._half_life_s)
        weight = np.where(there, self._size * 0.5**halvings, 0.0)
        total = weight.sum(axis=1)
        known = total > 0
        total = np.where(known, total, np.nan)
        mean = (weight * self._bps).sum(axis=1) / total
        spread = np.sqrt((weight * (self._bps - mean[:, None]) ** 2).sum(axis=1) / total) / mean
        # A missing sample stands at the lowest one: there the quantile is cut off anyway.
        lowest = np.where(there, self._bps, self._bps[:, -1:]).min(axis=1, keepdims=True)
        low = weighted_quantiles(np.where(there, self._bps, lowest), weight, self._low_quantile)
        low = np.where(known, np.minimum(mean, low), np.nan)
        return Forecasts(mean, low, spread, now_s - self._solid_s)


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

"""Samples for the tests of forecasts, and what forecasts make of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kimad.forecast import ALL_LEVELS, Estimator, Forecast, make_estimator
from kimad.monitor import LinkSample, LinkSamples

Floats = NDArray[np.float64]
NAMES = sorted(ALL_LEVELS)
LARGE = 4_000_000  # bytes: full weight at any rate up to 6 Gbit/s
HALF_LIFE_S = 0.5
Sample = tuple[float, float, int]  # s, Mbit/s, bytes


def sample(time_s: float, mbps: float, size: int = LARGE) -> LinkSamples:
    """One link's sample."""
    return LinkSamples.of([LinkSample(time_s, mbps * 1e6, size, 8 * size / (mbps * 1e6))])


def told(name: str, samples: Sequence[Sample], low_quantile: float = 0.25) -> Estimator:
    """One link's estimator after samples."""
    estimator = make_estimator(name, HALF_LIFE_S, low_quantile)
    for time_s, mbps, size in samples:
        estimator.update(sample(time_s, mbps, size))
    return estimator


def forecast(name: str, *samples: Sample, low_quantile: float = 0.25, now_s: float | None = None) -> Forecast:
    """The forecast after samples, at the time of the last one if no other is given."""
    found = told(name, samples, low_quantile).forecast(samples[-1][0] if now_s is None else now_s).slowest()
    assert found is not None
    return found


def steady(mbps: float, count: int, step_s: float = 0.1, size: int = LARGE, start_s: float = 0.0) -> list[Sample]:
    """Equal samples, `step_s` apart."""
    return [(start_s + step_s * i, mbps, size) for i in range(count)]

"""The decayed average: what it follows, what it doubts, and what weighs little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad.forecast import DecayedAverage, Forecast, weighted_quantiles
from kimad.monitor import MIN_SAMPLE_BYTES, LinkSample, LinkSamples

Floats = NDArray[np.float64]
SOLID = 4_000_000


def forecast(
    *samples: tuple[float, float, int], half_life_s: float = 0.5, low_quantile: float = 0.25, now_s: float | None = None
) -> Forecast:
    """After samples of (time, Mbit/s, bytes)."""
    link = DecayedAverage(half_life_s, low_quantile)
    for time_s, mbps, size in samples:
        link.update(LinkSamples.of([LinkSample(time_s, mbps * 1e6, size, 8 * size / (mbps * 1e6))]))
    found = link.forecast(samples[-1][0] if now_s is None else now_s).slowest()
    assert found is not None
    return found


def test_nothing_is_known_before_a_sample() -> None:
    assert DecayedAverage(0.5, 0.25).forecast(10.0).slowest() is None


def test_a_steady_link_is_certain() -> None:
    steady = forecast(*((0.1 * i, 100, SOLID) for i in range(20)))
    assert steady.mean_bps == pytest.approx(1e8)
    assert steady.low_bps == pytest.approx(1e8, rel=1e-6)
    assert steady.spread == pytest.approx(0, abs=1e-6)
    assert steady.age_s == 0


def test_a_sample_counts_half_after_its_half_life() -> None:
    two = forecast((0.0, 100, SOLID), (2.0, 400, SOLID), half_life_s=2.0)
    assert two.mean_bps == pytest.approx((100 * 0.5 + 400) / 1.5 * 1e6)


def test_a_newer_sample_halves_the_older_ones() -> None:
    two = forecast((0.0, 100, SOLID), (0.001, 400, SOLID))
    assert two.mean_bps == pytest.approx((100 * 0.5 + 400) / 1.5 * 1e6)


def weighted_quantile(values: Floats, weights: Floats, quantile: float) -> float:
    return float(weighted_quantiles(values[None], weights[None], quantile)[0])


@pytest.mark.parametrize(("quantile", "expected"), [(0.0, 1.0), (0.25, 1.5), (0.5, 2.5), (1.0, 4.0)])
def test_the_quantile_of_equal_weights(quantile: float, expected: float) -> None:
    values = np.array([3.0, 1.0, 4.0, 2.0])
    assert weighted_quantile(values, np.ones(4), quantile) == pytest.approx(expected)


def test_weight_counts_in_a_quantile() -> None:
    values = np.array([10.0, 20.0])
    assert weighted_quantile(values, np.array([9.0, 1.0]), 0.45) == pytest.approx(10.0)
    assert weighted_quantile(values, np.array([1.0, 9.0]), 0.55) == pytest.approx(20.0)


def test_the_low_rate_is_never_below_all_samples() -> None:
    fallen = forecast((0.0, 330, SOLID), (0.5, 30, SOLID), (1.0, 31, SOLID))
    assert fallen.low_bps >= 30e6


def test_small_samples_weigh_little() -> None:
    """Latency makes a small transfer look slow; it must not pull the mean far."""
    tiny = forecast((0.0, 100, SOLID), (0.0, 1, MIN_SAMPLE_BYTES))
    assert 96e6 < tiny.mean_bps < 99e6
    full = forecast((0.0, 100, SOLID), (0.0, 1, SOLID))
    assert full.mean_bps == pytest.approx((100 * 0.5 + 1) / 1.5 * 1e6)


@pytest.mark.parametrize("spacing_s", [0.05, 0.5, 1.0])
def test_a_step_change_is_followed_within_three_samples(spacing_s: float) -> None:
    """330 -> 30 -> 330 Mbit/s, what is planned on: down at once, up within a factor of two."""
    rates = [330] * 10 + [30] * 10 + [330] * 10
    samples = [(spacing_s * i, rate, SOLID) for i, rate in enumerate(rates)]
    assert forecast(*samples[:10]).low_bps == pytest.approx(330e6, rel=1e-3)
    fallen = forecast(*samples[:13])
    assert fallen.low_bps < 35e6
    assert fallen.mean_bps < 330e6 / 4
    risen = forecast(*samples[:23])
    assert risen.low_bps > 330e6 / 2
    assert risen.mean_bps > 330e6 * 0.8


def test_age_counts_from_the_last_solid_sample() -> None:
    small = DecayedAverage.SOLID_BYTES - 1
    assert forecast((1.0, 10, SOLID), (4.0, 10, small), now_s=6.0).age_s == 5.0
    assert forecast((1.0, 10, small), (4.0, 10, small + 1), now_s=6.0).age_s == 2.0
    assert forecast((1.0, 10, small), now_s=6.0).age_s == math.inf


def test_old_samples_alone_still_give_a_mean() -> None:
    old = forecast((0.0, 50, SOLID), now_s=1e6)
    assert (old.mean_bps, old.age_s) == pytest.approx((50e6, 1e6))


sizes = st.integers(MIN_SAMPLE_BYTES, 10**9)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-3, 1e6), sizes), min_size=1, max_size=80))
def test_a_forecast_lies_among_its_samples(samples: list[tuple[float, float, int]]) -> None:
    samples = sorted(samples)
    found = forecast(*samples)
    rates = [mbps * 1e6 for _, mbps, _ in samples]
    assert min(rates) * 0.999 <= found.mean_bps <= max(rates) * 1.001
    assert 0 < found.low_bps <= found.mean_bps
    assert math.isfinite(found.spread)


def test_only_the_latest_samples_are_kept() -> None:
    many = [(0.0, 1000, SOLID)] * 500 + [(0.0, 10, SOLID)] * DecayedAverage.KEPT
    assert forecast(*many).mean_bps == pytest.approx(10e6)


def test_links_are_forecast_each_by_itself() -> None:
    """Many links at once are many estimators of one link, missing samples and all."""
    random = np.random.default_rng(3)
    together = DecayedAverage(0.5, 0.25, links=5)
    alone = [DecayedAverage(0.5, 0.25) for _ in range(5)]
    for step in range(50):
        row = [
            LinkSample(0.3 * step, float(bps), SOLID, 8 * SOLID / bps) if random.random() < 0.7 else None
            for bps in random.uniform(1e6, 1e9, 5)
        ]
        together.update(LinkSamples.of(row))
        for link, sample in zip(alone, row, strict=True):
            if sample is not None:
                link.update(LinkSamples.of([sample]))
        found = together.forecast(0.3 * step)
        for i, link in enumerate(alone):
            single = link.forecast(0.3 * step)
            for name in ("mean_bps", "low_bps", "spread", "age_s"):
                assert np.array_equal(getattr(found, name)[i : i + 1], getattr(single, name), equal_nan=True), name


def test_the_slowest_link_is_the_one_planned_on() -> None:
    links = DecayedAverage(0.5, 0.25, links=3)
    links.update(LinkSamples.of([LinkSample(1.0, mbps * 1e6, SOLID, 1.0) for mbps in (90, 40, 70)]))
    slowest = links.forecast(1.0).slowest()
    assert slowest is not None
    assert slowest.low_bps == 40e6

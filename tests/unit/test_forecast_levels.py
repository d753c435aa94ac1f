"""How each forecast follows a change, and what weighs little with it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kimad.forecast import Holt, make_estimator
from kimad.forecast.quantile import weighted_quantiles
from kimad.monitor import MIN_SAMPLE_BYTES
from tests.unit.forecasts import HALF_LIFE_S, LARGE, NAMES, Sample, forecast, sample, steady

Floats = NDArray[np.float64]
FAST, SLOW = 100.0, 50.0  # Mbit/s; a change of less than twofold, which no limit of a forecast touches
STEP_S = 0.1


def after_a_change(name: str, before: float, after: float, count: int, step_s: float = STEP_S) -> list[float]:
    """Mean in Mbit/s after each of `count` samples of a new rate that follows 200 of the old one."""
    lead = steady(before, 200, step_s)
    new = steady(after, count, step_s, start_s=step_s * 200)
    return [forecast(name, *lead, *new[: i + 1]).mean_bps / 1e6 for i in range(count)]


@pytest.mark.parametrize("rates", [(FAST, SLOW), (SLOW, FAST)])
def test_last_is_the_newest_sample(rates: tuple[float, float]) -> None:
    assert after_a_change("last", *rates, count=1) == pytest.approx([rates[1]])


@pytest.mark.parametrize("rates", [(FAST, SLOW), (SLOW, FAST)])
def test_the_decayed_average_halves_what_remains_of_a_change(rates: tuple[float, float]) -> None:
    before, after = rates
    expected = [after + (before - after) * 0.5**n for n in range(1, 6)]
    assert after_a_change("decayed", before, after, count=5) == pytest.approx(expected, rel=1e-3)


def test_in_the_decayed_average_a_sample_also_ages() -> None:
    """After two half-lives the sample before counts a quarter, after one or less a half."""
    two = [(0.0, 100.0, LARGE), (2 * HALF_LIFE_S, 400.0, LARGE)]
    assert forecast("decayed", *two).mean_bps == pytest.approx((100 * 0.25 + 400) / 1.25 * 1e6)
    two[1] = (0.001, 400.0, LARGE)
    assert forecast("decayed", *two).mean_bps == pytest.approx((100 * 0.5 + 400) / 1.5 * 1e6)


@pytest.mark.parametrize("rates", [(FAST, SLOW), (SLOW, FAST)])
def test_the_harmonic_mean_has_half_of_a_change_of_pace_after_four_samples(rates: tuple[float, float]) -> None:
    before, after = rates
    found = after_a_change("harmonic", before, after, count=8)
    for n, rest in ((4, 0.5), (8, 0.25)):
        pace = 1 / after + (1 / before - 1 / after) * rest
        assert found[n - 1] == pytest.approx(1 / pace, rel=1e-3)


@pytest.mark.parametrize("rates", [(FAST, SLOW), (SLOW, FAST)])
def test_the_median_follows_whole_at_the_third_sample_and_not_before(rates: tuple[float, float]) -> None:
    before, after = rates
    found = after_a_change("quantile", before, after, count=3)
    assert found[0] == pytest.approx(before)
    assert found[1] == pytest.approx(before)
    assert found[2] == pytest.approx(after)


@pytest.mark.parametrize("rates", [(FAST, SLOW), (SLOW, FAST)])
def test_holt_is_there_at_once_overshoots_and_settles(rates: tuple[float, float]) -> None:
    before, after = rates
    found = np.log(np.array(after_a_change("holt", before, after, count=8)) / before) / np.log(after / before)
    assert found[:3] == pytest.approx([1.09, 1.25, 1.19], abs=0.01)
    assert found[5:] == pytest.approx([1.0] * 3, abs=0.03)


def test_holt_is_ahead_of_the_newest_sample_on_a_slope() -> None:
    slope: list[Sample] = [(STEP_S * i, 10 * 1.05**i, LARGE) for i in range(60)]
    following = 10 * 1.05**60
    assert abs(forecast("holt", *slope).mean_bps / 1e6 / following - 1) < 0.02
    assert forecast("last", *slope).mean_bps / 1e6 == pytest.approx(following / 1.05)


def test_holt_expects_no_more_than_a_doubling() -> None:
    found = forecast("holt", *steady(1, 20), *steady(1000, 1, start_s=2.0)).mean_bps / 1e6
    level = np.exp(Holt.LEVEL * np.log(1000))
    assert found == pytest.approx(level * np.exp(Holt.STEEPEST), rel=1e-6)


@pytest.mark.parametrize("rates", [(330, 33), (33, 330)])
@pytest.mark.parametrize("seed", range(5))
def test_switching_has_left_its_averages_at_the_third_sample(rates: tuple[float, float], seed: int) -> None:
    """On a noisy link an average is best, until the link jumps."""
    before, after = rates
    random = np.random.default_rng(seed)
    estimator = make_estimator("switching", HALF_LIFE_S, 0.25)
    errors = []
    for i in range(100):
        errors.append(abs(float(estimator.forecast(STEP_S * i).mean_bps[0]) / 1e6 / before - 1))
        estimator.update(sample(STEP_S * i, before * float(np.exp(0.15 * random.standard_normal()))))
    assert np.mean(errors[40:]) < 0.1, "the newest sample alone is off by 12 %"
    for i in range(100, 103):
        estimator.update(sample(STEP_S * i, after))
    assert float(estimator.forecast(STEP_S * 102).mean_bps[0]) / 1e6 == pytest.approx(after, rel=0.25)


@pytest.mark.parametrize("name", ["switching", "last"])
@pytest.mark.parametrize("step_s", [0.05, 0.2, 0.4, 1.0, 5.0])
@pytest.mark.parametrize("rates", [(330.0, 33.0), (33.0, 330.0)])
@pytest.mark.parametrize("sizes", [(LARGE, LARGE), (LARGE, 50_000), (50_000, 50_000)])
def test_a_tenfold_change_is_followed_in_five_steps_or_two_seconds(
    name: str, step_s: float, rates: tuple[float, float], sizes: tuple[int, int]
) -> None:
    allowed = max(5, int(2 / step_s))
    lead = steady(rates[0], 50, step_s, sizes[0])
    new = steady(rates[1], allowed + 5, step_s, sizes[1], start_s=50 * step_s)
    for more in range(5):
        found = forecast(name, *lead, *new[: allowed + more])
        assert found.mean_bps / 1e6 == pytest.approx(rates[1], rel=0.25)
        assert found.low_bps <= found.mean_bps


@pytest.mark.parametrize("name", ["switching", "last", "decayed", "quantile"])
@pytest.mark.parametrize("step_s", [0.05, 0.3, 1.0])
def test_an_outage_is_over_two_steps_after_its_end(name: str, step_s: float) -> None:
    """A transfer that had to wait for 10 s looks like a link a hundred times as slow."""
    lead = steady(100, 50, step_s)
    waited: Sample = (50 * step_s + 10, 1.0, LARGE)
    back = steady(100, 2, step_s, start_s=51 * step_s + 10)
    found = forecast(name, *lead, waited, *back)
    assert found.mean_bps == pytest.approx(100e6, rel=0.25)
    assert found.low_bps > 0.7 * 100e6


@pytest.mark.parametrize("name", NAMES)
def test_a_small_sample_after_large_ones_weighs_little(name: str) -> None:
    """Latency makes a small transfer look slow, here tenfold; the same from a large one is believed sooner."""
    lead = steady(100, 20)
    small = forecast(name, *lead, (2.0, 10.0, MIN_SAMPLE_BYTES)).mean_bps
    large = forecast(name, *lead, (2.0, 10.0, LARGE)).mean_bps
    assert small > 0.8 * 100e6
    assert large <= small


@pytest.mark.parametrize("name", NAMES)
def test_small_samples_among_themselves_are_as_good_as_large_ones(name: str) -> None:
    rates = [100.0] * 20 + [80.0, 90.0, 120.0]
    large, small = ([(STEP_S * i, mbps, size) for i, mbps in enumerate(rates)] for size in (4 * LARGE, 20_000))
    assert forecast(name, *small).mean_bps == pytest.approx(forecast(name, *large).mean_bps, rel=1e-9)


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

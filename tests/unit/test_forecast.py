"""Forecasts of links: what all of them promise, whatever their level is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.config import FORECASTS, Config
from kimad.forecast import ALL_LEVELS, Forecasts, make_estimator
from kimad.forecast.evidence import MAX_S, PATIENCE
from kimad.monitor import MIN_SAMPLE_BYTES, LinkSample, LinkSamples
from tests.unit.forecasts import HALF_LIFE_S, LARGE, NAMES, Sample, forecast, sample, steady, told

COLUMNS = ("mean_bps", "low_bps", "spread", "age_s", "high_bps")
WRONG = (0.0, -1.0, math.nan, math.inf, -math.inf, 1e30)
DEFAULT = Config().forecast


def test_the_names_of_the_configuration_are_those_there_are() -> None:
    assert set(FORECASTS) == set(ALL_LEVELS)
    assert FORECASTS[0] == DEFAULT


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_known_before_a_sample(name: str) -> None:
    assert make_estimator(name, HALF_LIFE_S, 0.25).forecast(10.0).slowest() is None


@pytest.mark.parametrize("name", NAMES)
def test_one_sample_is_a_forecast_with_a_margin(name: str) -> None:
    found = forecast(name, (0.0, 100, LARGE))
    assert found.mean_bps == pytest.approx(1e8)
    assert 0.8e8 < found.low_bps < 0.95e8
    assert found.age_s == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_steady_link_becomes_certain(name: str) -> None:
    found = forecast(name, *steady(100, 200))
    assert found.mean_bps == pytest.approx(1e8)
    assert found.low_bps == pytest.approx(1e8, rel=1e-3)
    assert found.low_bps <= found.mean_bps
    assert found.spread < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_wild_link_is_planned_on_with_care(name: str) -> None:
    random = np.random.default_rng(0)
    wild = [(0.1 * i, 100 * float(np.exp(0.5 * random.standard_normal())), LARGE) for i in range(200)]
    found = forecast(name, *wild)
    assert found.low_bps < 0.8 * found.mean_bps
    assert found.spread > 0.25


def test_what_was_not_measured_is_doubted() -> None:
    """The low rate falls with the age of the newest sample, but not for ever; the mean stays."""
    random = np.random.default_rng(1)
    lead = [(0.1 * i, 100 * float(np.exp(0.1 * random.standard_normal())), LARGE) for i in range(100)]
    found = [forecast(DEFAULT, *lead, now_s=9.9 + age_s) for age_s in (0.0, 0.1, 0.3, 1.0, 1e3, 1e6)]
    lows = [one.low_bps for one in found]
    assert lows[:4] == sorted(lows[:4], reverse=True)
    assert lows[0] > lows[1] > lows[2] > lows[3] > 0.3 * lows[0]
    assert lows[4] == lows[5]
    assert len({one.mean_bps for one in found}) == 1


def test_age_counts_from_the_newest_sample_however_small_it_is() -> None:
    assert forecast(DEFAULT, (1.0, 100, LARGE), (4.0, 100, MIN_SAMPLE_BYTES), now_s=6.0).age_s == 2.0


def test_a_link_may_have_become_faster_the_longer_nothing_is_heard_of_it() -> None:
    """Three times what forecasts were off by, or what an unknown link's are; but not more than tenfold or so."""
    found = [forecast(DEFAULT, *steady(100, 100), now_s=9.9 + age_s) for age_s in (0.0, 0.5, 1.0, 1e3, 1e6)]
    highs = [one.high_bps / one.mean_bps for one in found]
    assert highs[0] == pytest.approx(math.exp(0.6) * (1 + 5e-3 / 0.32))
    assert highs == sorted(highs)
    assert highs[1] < highs[2] < highs[3] == highs[4] == pytest.approx(math.exp(2.4) * (1 + 5e-3 / 0.32))


def test_a_wild_link_may_have_become_faster_still() -> None:
    random = np.random.default_rng(0)
    wild = [(0.1 * i, 100 * float(np.exp(random.standard_normal())), LARGE) for i in range(200)]
    assert forecast(DEFAULT, *wild).high_bps > 5 * forecast(DEFAULT, *wild).mean_bps


def test_a_short_sample_may_have_missed_most_of_the_rate() -> None:
    """Of 5 ms latency and scheduling are told apart from sending by nothing: 1 ms of sending may be a sixth."""
    short, long = (forecast(DEFAULT, (0.0, 100, size)) for size in (12_500, 1_250_000))
    assert short.high_bps / long.high_bps == pytest.approx(6 / 1.05)


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-3, 1e6), st.integers(MIN_SAMPLE_BYTES, 10**9)), max_size=60))
def test_a_forecast_lies_near_its_samples(name: str, samples: list[Sample]) -> None:
    samples = sorted([(0.0, 5.0, LARGE), *samples])
    found = forecast(name, *samples)
    rates = [mbps * 1e6 for _, mbps, _ in samples]
    beyond = 4.0 if name in ("holt", "switching") else 1.001  # a trend goes on, by no more than two doublings
    assert min(rates) / beyond <= found.mean_bps <= max(rates) * beyond
    assert 0 < found.low_bps <= found.mean_bps
    assert math.isfinite(found.spread)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("column", ["bps", "bytes", "busy_s"])
@pytest.mark.parametrize("value", WRONG)
def test_a_sample_that_cannot_be_true_is_ignored_and_counted(name: str, column: str, value: float) -> None:
    lead = [*steady(100, 5), *steady(60, 5, start_s=0.5)]
    whole, disturbed = told(name, lead), told(name, lead)
    columns = {"bps": 5e6, "bytes": 1e6, "busy_s": 1.6, column: value}
    disturbed.update(LinkSamples(1.0, **{key: np.array([number]) for key, number in columns.items()}))
    assert disturbed.ignored == (0 if (column, value) == ("bytes", 0.0) else 1), "no bytes are no sample"
    assert as_bytes(disturbed.forecast(1.0)) == as_bytes(whole.forecast(1.0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("time_s", [math.nan, math.inf, -math.inf, 1e30, -1e30, 0.85, -5.0])
def test_a_time_that_cannot_be_true_is_ignored_and_counted(name: str, time_s: float) -> None:
    whole, disturbed = told(name, steady(100, 10)), told(name, steady(100, 10))
    disturbed.update(sample(time_s, 5.0))
    assert disturbed.ignored == 1
    assert as_bytes(disturbed.forecast(1.0)) == as_bytes(whole.forecast(1.0))
    disturbed.update(sample(1.0, 100))
    assert disturbed.ignored == 1


def test_a_clock_that_was_set_back_is_believed_in_the_end() -> None:
    """One sample far in the future must not make a link deaf."""
    estimator = told(DEFAULT, [*steady(100, 10), (MAX_S, 100, LARGE)])
    for i in range(2 * PATIENCE):
        estimator.update(sample(1.0 + 0.1 * i, 10.0))
    assert estimator.ignored == PATIENCE
    assert float(estimator.forecast(1.0 + 0.2 * PATIENCE).mean_bps[0]) == pytest.approx(10e6, rel=0.01)


numbers = st.one_of(st.sampled_from([*WRONG, 5e-324, 1e15, 1e18, 1e9]), st.floats(allow_nan=True, allow_infinity=True))


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=20), st.floats(-1e9, 1e9))
def test_no_measurement_makes_a_forecast_that_is_no_number(
    name: str, rows: list[tuple[float, float, float, float]], now_s: float
) -> None:
    estimator = told(name, steady(100, 2))
    for time_s, bps, size, busy_s in rows:
        estimator.update(LinkSamples(time_s, *np.array([[bps], [size], [busy_s]])))
        found = estimator.forecast(now_s)
        for column in (found.mean_bps, found.low_bps, found.spread, found.high_bps):
            assert np.isfinite(column).all()
        assert (found.low_bps > 0).all()
        assert (found.mean_bps > 0).all()
    assert 0 <= estimator.ignored <= len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_links_are_forecast_each_by_itself(name: str) -> None:
    """Many links at once are many estimators of one link, missing and wrong samples and all."""
    random = np.random.default_rng(3)
    links = 9
    together = make_estimator(name, HALF_LIFE_S, 0.25, links)
    alone = [make_estimator(name, HALF_LIFE_S, 0.25) for _ in range(links)]
    for step in range(60):
        time_s = 0.3 * step
        row: list[LinkSample | None] = []
        for bps in random.uniform(1e6, 1e9, links).tolist():
            size = int(random.choice([20_000, 300_000, LARGE]))
            wrong = random.random() < 0.05
            there = random.random() < 0.7
            row.append(LinkSample(time_s, -1.0 if wrong else bps, size, 8 * size / bps) if there else None)
        together.update(LinkSamples.of([*row[:-1], row[-1] or LinkSample(time_s, 1e7, 20_000, 0.016)]))
        for i, link in enumerate(alone):
            one = row[i] if i < links - 1 else row[-1] or LinkSample(time_s, 1e7, 20_000, 0.016)
            if one is not None:
                link.update(LinkSamples.of([one]))
        found = together.forecast(time_s)
        for i, link in enumerate(alone):
            single = link.forecast(time_s)
            for column in COLUMNS:
                assert np.array_equal(getattr(found, column)[i : i + 1], getattr(single, column), equal_nan=True)
    assert together.ignored == sum(link.ignored for link in alone) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_samples_give_the_same_bits(name: str) -> None:
    random = np.random.default_rng(4)
    samples = [(0.2 * i, float(mbps), LARGE) for i, mbps in enumerate(random.uniform(1, 100, 50))]
    assert as_bytes(told(name, samples).forecast(9.0)) == as_bytes(told(name, samples).forecast(9.0))


def test_a_forecast_does_not_change_with_what_follows() -> None:
    """What was handed out is no view of a state that goes on."""
    for name in NAMES:
        estimator = told(name, steady(100, 5))
        found = estimator.forecast(1.0)
        before = as_bytes(found)
        estimator.update(sample(1.0, 3.0))
        assert as_bytes(found) == before


def test_the_slowest_link_is_the_one_planned_on() -> None:
    links = make_estimator(DEFAULT, HALF_LIFE_S, 0.25, links=3)
    links.update(LinkSamples.of([LinkSample(1.0, mbps * 1e6, LARGE, 1.0) for mbps in (90, 40, 70)]))
    slowest = links.forecast(1.0).slowest()
    assert slowest is not None
    assert slowest.mean_bps == pytest.approx(40e6)


def as_bytes(found: Forecasts) -> bytes:
    return b"".join(getattr(found, column).tobytes() for column in COLUMNS)

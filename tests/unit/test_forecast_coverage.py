"""The low quantile of a forecast is one: on links of every kind, and whatever is wrong with the mean."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.forecast_traces import HELD_BACK, STEPS_S, play
from kimad.config import Config
from kimad.forecast import make_estimator
from kimad.forecast.doubt import Doubt, laplace
from kimad.forecast.evidence import Evidence
from tests.unit.forecasts import HALF_LIFE_S, NAMES

Floats = NDArray[np.float64]
QUANTILE = 0.2
STEPS = 400


def covered(name: str, step_s: float, quantile: float) -> dict[str, float]:
    """Share of steps in which the held-back links of each kind were faster than their low rate."""
    one = play(HELD_BACK, step_s, STEPS, seed=7)
    estimator = make_estimator(name, HALF_LIFE_S, quantile, one.bps.shape[1])
    above = np.full(one.bps.shape, np.nan)
    now_s = 0.0
    for step in range(STEPS):
        low_bps = estimator.forecast(now_s).low_bps
        known = np.isfinite(low_bps) & (one.bps[step] > 0)
        above[step, known] = one.bps[step, known] > low_bps[known]
        estimator.update(one.samples(step))
        now_s = float(one.end_s[step])
    kinds = np.array(one.kinds)
    return {"all": float(np.nanmean(above))} | {kind: float(np.nanmean(above[:, kinds == kind])) for kind in HELD_BACK}


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("name", NAMES)
def test_four_steps_of_five_are_above_the_fifth_quantile(name: str, step_s: float) -> None:
    assert 0.75 <= covered(name, step_s, QUANTILE)["all"] <= 0.85


@pytest.mark.parametrize("step_s", STEPS_S)
def test_with_the_default_it_holds_on_each_kind_of_link(step_s: float) -> None:
    found = covered(Config().forecast, step_s, QUANTILE)
    assert {kind: share for kind, share in found.items() if not 0.75 <= share <= 0.85} == {}


@pytest.mark.parametrize("quantile", [0.05, 0.1, Config().low_quantile, 0.5, 0.75])
def test_any_quantile_may_be_asked_for(quantile: float) -> None:
    found = covered(Config().forecast, 0.2, quantile)["all"]
    assert found == pytest.approx(1 - quantile, abs=0.05)


@pytest.mark.parametrize("step_s", [0.2, 1.0])
def test_it_holds_for_a_while_without_samples(step_s: float) -> None:
    """Ten steps with a sample, ten without: the margin grows with age as fast as links move, or somewhat faster."""
    one = play(HELD_BACK, step_s, STEPS, seed=7)
    estimator = make_estimator(Config().forecast, HALF_LIFE_S, QUANTILE, one.bps.shape[1])
    unseen = []
    for step in range(STEPS):
        now_s = float(one.end_s[step - 1]) if step else 0.0
        low_bps = estimator.forecast(now_s).low_bps
        known = np.isfinite(low_bps) & (one.bps[step] > 0)
        if step % 20 < 10:
            estimator.update(one.samples(step))
        elif step > 20:
            unseen.append(float(np.mean(one.bps[step, known] > low_bps[known])))
    assert 0.75 <= np.mean(unseen) <= 0.9


@pytest.mark.parametrize("bias", [-0.4, 0.0, 0.4])
@pytest.mark.parametrize("wildness", [0.05, 1.0])
def test_whatever_is_wrong_with_the_level_comes_off(bias: float, wildness: float) -> None:
    """The real rate is off by a constant and by noise whose size nobody was told."""
    random = np.random.default_rng(5)
    links, steps = 20, 600
    doubt, known = Doubt(QUANTILE, links), np.ones(links, bool)
    level = np.zeros(links)
    above = []
    for _ in range(steps):
        logs = wildness * (random.standard_normal(links) - bias - 0.3)
        above.append(logs > doubt.low(level, np.zeros(links)))
        doubt.update(level, evidence(logs), known)
    assert np.mean(above[200:]) == pytest.approx(1 - QUANTILE, abs=0.03)


def test_one_jump_of_a_calm_link_is_forgiven() -> None:
    """A low quantile is about what is usual: the margin after a single jump grows by less than half."""
    random = np.random.default_rng(6)
    doubt, known, level = Doubt(QUANTILE, 1), np.ones(1, bool), np.zeros(1)
    for _ in range(300):
        doubt.update(level, evidence(0.05 * random.standard_normal(1)), known)
    calm = -float(doubt.low(level, np.zeros(1))[0])
    doubt.update(level, evidence(np.array([-2.3])), known)
    jumped = -float(doubt.low(level, np.zeros(1))[0])
    assert calm < jumped < 1.5 * calm


def test_a_link_that_becomes_wild_is_known_for_it_within_twenty_steps() -> None:
    random = np.random.default_rng(8)
    links = 200
    doubt, known, level = Doubt(QUANTILE, links), np.ones(links, bool), np.zeros(links)
    for _ in range(100):
        doubt.update(level, evidence(0.03 * random.standard_normal(links)), known)
    assert np.median(doubt.scale) == pytest.approx(0.03 * 0.8, rel=0.2)
    for _ in range(20):
        doubt.update(level, evidence(0.3 * random.standard_normal(links)), known)
    assert 0.12 < np.median(doubt.scale) < 0.3


def test_where_it_begins() -> None:
    assert laplace(0.2) == pytest.approx(np.log(0.4))
    assert laplace(0.5) == 0
    assert laplace(0.8) == pytest.approx(-laplace(0.2))


def evidence(logs: Floats) -> Evidence:
    """A sample of every link, as good as the one before."""
    one = np.ones(len(logs))
    return Evidence(one > 0, logs, one, one / 2, one, 0.1 * one)

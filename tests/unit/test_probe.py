"""When a probe is worth its cost: by what it could change, by the chance of that, and within its share of time."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kimad.candidates import Candidates
from kimad.forecast import Forecast
from kimad.monitor import FIRST_PIECE_BYTES, LONG_S, MIN_LONG_BYTES, MIN_SAMPLE_BYTES
from kimad.objective import ErrorBound, Objective, Progress
from kimad.probe import PATIENCE, Known, Probing, counted_bytes, probe_bytes
from kimad.solver import ALL_SOLVERS, Choice
from tests.unit.cases import heavy_model

MODEL = heavy_model(24, seed=5)
SOLVER = ALL_SOLVERS["lagrangian"]
BPS = 0.5e6
NEVER_S = 1e12
COPIES = 1.0


READY_S = np.full(len(MODEL.buckets), 0.05)


@cache
def plans() -> Candidates:
    menu = MODEL.menu(BPS)
    return Candidates.of(menu, SOLVER.frontier(menu), READY_S, BPS)


def one(choice: Choice) -> Candidates:
    return Candidates.of(MODEL.menu(BPS), [choice], READY_S, BPS)


@cache
def small() -> Candidates:
    """What is picked at the low rate; it measures nothing."""
    found = plans()
    picked = one(found.choices[Progress().pick(found.points())])
    assert counted_bytes(picked, COPIES)[0] < MIN_LONG_BYTES
    return picked


def known(age_s: float, *, glimpse: float = 0.0, unconfirmed: int = 0, high: float = 2.0) -> Known:
    """glimpse and high: times the mean rate."""
    forecast = Forecast(BPS, BPS, 0.1, age_s, high * BPS)
    return Known(forecast, glimpse * BPS, unconfirmed, COPIES)


def asked(what: Known, latest_s: float = NEVER_S, objective: Objective | None = None) -> float | None:
    return probe_bytes(plans(), small(), objective or Progress(), what, latest_s)


def first_age_s(latest_s: float = NEVER_S, objective: Objective | None = None, **what: float) -> float:
    """The age from which on a probe is sent, within 2 %."""
    age_s = 1e-3
    while asked(known(age_s, **what), latest_s, objective) is None:  # type: ignore[arg-type]
        age_s *= 1.02
        if age_s > 1e9:
            return math.inf
    return age_s


def test_the_first_pieces_of_frames_do_not_count() -> None:
    found = plans()
    sent, buckets = found.wire_bytes, found.link_s.shape[1]
    counted = counted_bytes(found, COPIES)
    assert (counted <= sent * (1 + 1e-9)).all()
    assert (counted >= sent - buckets * FIRST_PIECE_BYTES - 1e-6).all()
    assert counted[-1] == pytest.approx(sent[-1]), "a bucket that travels whole counts whole"


def test_a_plan_that_measures_the_link_is_no_probe() -> None:
    found = plans()
    large = int((counted_bytes(found, COPIES) >= MIN_SAMPLE_BYTES).argmax())
    assert probe_bytes(found, one(found.choices[large]), Progress(), known(1e6, glimpse=10), 1.0) is None
    assert asked(known(1e6, glimpse=10), 1.0) is not None


def test_nothing_is_asked_for_right_after_a_sample() -> None:
    assert asked(known(0.0, glimpse=10), 0.0) is None
    assert asked(known(-1.0, glimpse=10), 0.0) is None


@pytest.mark.parametrize(
    ("high", "expected"),
    [(1e-9, MIN_LONG_BYTES), (2.0, LONG_S * 1.5 * 2 * BPS / 8), (1e9, MIN_SAMPLE_BYTES)],
    ids=["slow", "between", "fast"],
)
def test_a_probe_has_what_one_sample_needs_at_the_high_rate(high: float, expected: float) -> None:
    assert asked(known(1e6, high=high), 1.0) == pytest.approx(expected)


def test_a_model_that_is_no_sample_is_never_probed() -> None:
    found = plans()
    few = replace(found, link_s=found.link_s * (1000 / found.wire_bytes[-1]))
    assert probe_bytes(few, one(few.choices[0]), Progress(), known(1e6, glimpse=10), 1.0) is None


def test_age_alone_is_enough_at_last_but_not_for_more_than_a_share_of_time() -> None:
    """An error bound is kept as cheaply as it can be, whatever the rate: nothing is to be gained."""
    goal = ErrorBound(0.999999)
    patient_s = first_age_s(1e-3, goal)
    assert first_age_s(10 * patient_s, goal) == pytest.approx(10 * patient_s, rel=0.03)
    assert first_age_s(NEVER_S, goal) == math.inf
    least_s = 8 * (MIN_LONG_BYTES + FIRST_PIECE_BYTES - small().wire_bytes[0]) / BPS
    assert patient_s > PATIENCE * least_s


def test_what_could_change_brings_the_probe_forward() -> None:
    """The faster the link may be, the sooner, for more is lost by not knowing; but with patience."""
    ages_s = [first_age_s(high=high) for high in (1.05, 1.5, 2.0)]
    assert ages_s[0] == math.inf, "the plan would stay the same"
    assert ages_s[1] > 1.2 * ages_s[2]
    assert ages_s[2] > first_age_s(1e-3, high=2.0)


def test_a_glimpse_of_a_faster_link_is_followed_soon() -> None:
    assert first_age_s(glimpse=10.0) < 0.1 * first_age_s()
    assert first_age_s(glimpse=1.4) == first_age_s(), "as fast as may be by chance"


def test_glimpses_that_were_not_confirmed_are_followed_ever_later() -> None:
    ages_s = [first_age_s(glimpse=10.0, unconfirmed=count) for count in range(6)]
    assert ages_s == sorted(ages_s)
    assert ages_s[2] > 4 * ages_s[0]
    assert ages_s[5] <= first_age_s(high=10.0), "nor later than without any"


def step(probing: Probing, mean: float, age_s: float, wire_s: float) -> Choice:
    """The choice after a step of what was picked that took `wire_s`; mean: of the forecast, times BPS."""
    probing.observe(wire_s, float(small().wire_bytes[0]))
    menu = MODEL.menu(BPS)
    forecast = Forecast(mean * BPS, BPS, 0.1, age_s, 2 * mean * BPS)
    return probing.choose(menu, SOLVER, plans(), small(), forecast).choices[0]


def test_what_was_picked_is_what_is_sent_until_a_step_is_too_quick() -> None:
    probing = Probing(Progress(), NEVER_S, COPIES)
    picked, size = small().choices[0], float(small().wire_bytes[0])
    usual_s = 8 * size / BPS
    for age_s in (1.0, 2.0, 3.0):
        assert same(step(probing, 1.0, age_s, usual_s), picked)
    probe = one(step(probing, 1.0, 60.0, usual_s / 10))
    needed = min(MIN_SAMPLE_BYTES, LONG_S * 1.5 * 10 * BPS / 8)
    assert counted_bytes(probe, COPIES)[0] >= needed
    assert probe.wire_bytes[0] <= 1.1 * needed + len(MODEL.buckets) * FIRST_PIECE_BYTES


def test_a_probe_that_finds_nothing_makes_glimpses_count_less() -> None:
    deceived, right = (Probing(Progress(), NEVER_S, COPIES) for _ in range(2))
    quick_s = 8 * float(small().wire_bytes[0]) / BPS / 10
    for probing, mean in ((deceived, 1.0), (right, 3.0)):
        step(probing, 1.0, 1.0, 10 * quick_s)
        for _ in range(4):
            assert not same(step(probing, 1.0, 1e3, quick_s), small().choices[0])
            step(probing, mean, 0.0, 10 * quick_s)
    assert deceived._unconfirmed == 4
    assert right._unconfirmed == 0


def same(one: Choice, other: Choice) -> bool:
    return bool((one.column == other.column).all() and (one.k == other.k).all() and (one.whole == other.whole).all())

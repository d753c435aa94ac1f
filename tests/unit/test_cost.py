"""Coding costs are learnt, and no single step can make an operator unusable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.compressors import ALL_COMPRESSORS, Option
from kimad.cost import CodingCost, start_s

seconds = st.floats(allow_nan=False, allow_infinity=True)


@given(st.lists(st.tuples(seconds, seconds), max_size=30))
def test_factors_stay_within_their_limits(steps: list[tuple[float, float]]) -> None:
    cost = CodingCost()
    low, high = CodingCost.LIMITS
    for expected_s, measured_s in steps:
        before = cost.factor["topk"]
        cost.update("topk", expected_s, measured_s)
        assert low <= cost.factor["topk"] <= high
        assert abs(cost.factor["topk"] - before) <= CodingCost.WEIGHT * (high - low)


def test_what_is_measured_is_learnt() -> None:
    cost = CodingCost()
    for _ in range(40):
        cost.update("topk", 0.01, 0.03)
    assert cost.factor["topk"] == pytest.approx(3, rel=1e-3)
    assert all(cost.factor[c.name] == 1 for c in ALL_COMPRESSORS if c.name != "topk")


def test_one_preempted_step_is_forgotten() -> None:
    cost = CodingCost()
    cost.update("int8", 0.001, 10.0)
    assert 4 < cost.factor["int8"] < 5
    for _ in range(20):
        cost.update("int8", 0.001, 0.001)
    assert cost.factor["int8"] < 1.1


@pytest.mark.parametrize(("expected_s", "measured_s"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (0.0, 0.0)])
def test_an_operator_that_was_not_used_teaches_nothing(expected_s: float, measured_s: float) -> None:
    cost = CodingCost()
    cost.update("topk", expected_s, measured_s)
    assert cost.factor["topk"] == 1


def test_the_start_grows_with_entries_and_kept_entries() -> None:
    for c in ALL_COMPRESSORS:
        assert 0 < start_s(Option(c.name), 0) < start_s(Option(c.name), 1000) < start_s(Option(c.name), 10**6)
    assert start_s(Option("topk", 10, "log4"), 1000) < start_s(Option("topk", 500, "log4"), 1000)
    assert start_s(Option("of another version"), 1000) > 0

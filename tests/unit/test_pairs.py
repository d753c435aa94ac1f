"""Two plans in one step: their time against brute force, and when they are better than one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad import ErrorBound, Objective, Overlap, Progress, StepTime
from kimad.candidates import Candidates
from kimad.pairs import Pairs, Rates, beats_one_plan, pair_link_s, single, slow_ranks
from kimad.solver import Lagrangian
from tests.unit.cases import heavy_model

RANKS = 4
MODEL = heavy_model(24, seed=5, world_size=RANKS)
READY_S = 2.0 * np.arange(1, len(MODEL.buckets) + 1) / len(MODEL.buckets)
FAST, SLOW = 4e6, 4e5
rates_bps = st.floats(1e5, 1e9)


def candidates(bps: float = SLOW) -> Candidates:
    menu = MODEL.menu(bps)
    return Candidates.of(menu, Lagrangian().frontier(menu), READY_S, bps)


def rates(up: list[float], down: list[float], slow: tuple[int, ...] | None = None) -> Rates:
    found = Rates(np.array(up), np.array(down), np.zeros(len(up), bool))
    return found.with_slow(slow_ranks(found.up_bps) if slow is None else slow)


@given(st.data(), st.integers(2, 7))
def test_the_time_of_an_exchange_is_that_of_its_slowest_direction(data: st.DataObject, ranks: int) -> None:
    """Against each rank's own bytes on its own links."""
    each = st.lists(rates_bps, min_size=ranks, max_size=ranks)
    up, down = data.draw(each), data.draw(each)
    slow = data.draw(st.sets(st.integers(0, ranks - 1), min_size=1, max_size=ranks - 1))
    p, q = data.draw(st.floats(1e3, 1e8)), data.draw(st.floats(1e3, 1e8))
    bps = data.draw(rates_bps)
    size = [q if rank in slow else p for rank in range(ranks)]
    seconds = [8 * (ranks - 1) * size[r] / up[r] for r in range(ranks)]
    seconds += [8 * sum(size[s] for s in range(ranks) if s != r) / down[r] for r in range(ranks)]
    p_s, q_s = (np.array([8 * (ranks - 1) * one / bps]) for one in (p, q))
    found = pair_link_s(p_s, q_s, bps, rates(up, down, tuple(sorted(slow))))
    assert found.tolist() == pytest.approx([max(seconds)])


def test_who_is_slow() -> None:
    assert slow_ranks(np.array([330.0, 330.0, 330.0, 33.0])) == (3,)
    assert slow_ranks(np.array([33.0, 330.0, 40.0, 300.0])) == (0, 2)
    assert slow_ranks(np.array([100.0, 10.0, 30.0])) == (1, 2), "the widest gap"
    assert slow_ranks(np.array([100.0, 100.0, 100.0])) == ()
    assert slow_ranks(np.array([100.0, 80.0, 64.0, 51.0])) == (), "none of them is half as slow again as the next"


@pytest.mark.parametrize("objective", [Progress(), StepTime(4.0), Overlap(0.5), ErrorBound(0.1)], ids=str)
def test_a_slow_uplink_is_worth_a_plan_of_its_own(objective: Objective) -> None:
    among, slow = candidates(), rates([FAST, FAST, FAST, SLOW], [FAST] * 4)
    found = beats_one_plan(objective, among, slow, 1.05)
    assert found is not None
    more, less = (among.wire_bytes[i] for i in found)
    assert more > 2 * less
    one, pairs = single(among, slow), Pairs.of(among, slow)
    at = next(k for k in range(len(pairs.first)) if (pairs.first[k], pairs.second[k]) == found)
    i = objective.pick(one)
    if isinstance(objective, ErrorBound):
        assert pairs.points.error[at] <= 0.1
        assert pairs.points.cost_s[at] < one.cost_s[i] / 2
    elif isinstance(objective, Progress):
        ours, theirs = objective.scores(pairs.points)[at], objective.scores(one)[i]
        assert ours > theirs + np.log(1.05)
    else:
        assert pairs.points.error[at] < 0.8 * one.error[i]


@pytest.mark.parametrize("objective", [Progress(), StepTime(4.0), Overlap(0.5), ErrorBound(0.1)], ids=str)
@pytest.mark.parametrize("down", [[FAST, FAST, FAST, SLOW], [SLOW] * 4], ids=["its own", "all"])
def test_a_slow_downlink_as_well_leaves_nothing_to_gain(objective: Objective, down: list[float]) -> None:
    found = rates([FAST, FAST, FAST, SLOW], down)
    assert beats_one_plan(objective, candidates(), found, 1.05) is None


def test_whole_buckets_are_the_same_for_all() -> None:
    among = candidates(FAST)
    assert any((choice.whole >= 0).any() for choice in among.choices)
    pairs = Pairs.of(among, rates([FAST, FAST, FAST, SLOW], [FAST] * 4))
    assert len(pairs.first) > 0
    for p, q in zip(pairs.first, pairs.second, strict=True):
        assert among.choices[p].whole.tolist() == among.choices[q].whole.tolist()
        assert among.wire_bytes[p] > among.wire_bytes[q]


def test_two_equal_plans_take_as_long_as_one() -> None:
    among, slow = candidates(), rates([FAST, FAST, FAST, SLOW], [FAST] * 4)
    frames = pair_link_s(among.link_s, among.link_s, among.bps, slow)
    assert frames == pytest.approx(among.link_s * among.bps / slow.slowest_bps)

"""Simulated runs in which one worker's uplink is slow."""

from __future__ import annotations

import numpy as np
import pytest

from kimad.observation import Observation
from kimad.sim import simulate
from kimad.sim.arrivals import arrivals
from kimad.sim.links import Links
from kimad.sim.simulate import follow
from kimad.sim.step import Load, run_step
from kimad.sim.strategy import Adaptive, make_strategy
from kimad.trace import Const, HostLink, parse_links
from tests.sim.cases import scenario, workload

EQUAL = [HostLink(Const(80), Const(80))] * 4
SLOW_UP = [*EQUAL[:3], HostLink(Const(8), Const(80))]
SLOW = [*EQUAL[:3], HostLink(Const(8), Const(8))]


def test_equal_frames_arrive_as_links_carry_them() -> None:
    """1 MB to three others is 0.3 s at 80 Mbit/s."""
    found = arrivals(Links(EQUAL), 1.0, np.full(4, 8e6))
    assert found == pytest.approx(np.full((4, 4), 1.3))


def test_small_frames_arrive_before_large_ones() -> None:
    found = arrivals(Links(SLOW_UP), 0.0, np.array([8e6, 8e6, 8e6, 8e5]))
    assert found[3, 3] == pytest.approx(0.3), "three copies at 8 Mbit/s"
    assert found[0, 3] == pytest.approx(0.3)
    assert found[0, 1] == pytest.approx(0.3), "its uplink, not a downlink of 2.1 MB"
    narrow = [HostLink(Const(80), Const(8)), *EQUAL[1:]]
    found = arrivals(Links(narrow), 0.0, np.array([8e6, 8e6, 8e6, 8e5]))
    assert found[0, 3] == pytest.approx(0.3), "a third of what has arrived by then is its own"
    assert found[0, 1] == pytest.approx(2.1)


def test_a_step_of_unequal_frames_ends_with_the_slowest_direction() -> None:
    size = np.array([1e6, 1e6, 1e6, 1e5])
    load = Load(3 * float(size.mean()), 3, 0, 0, 0, size)
    times = run_step(np.zeros(4), np.full((4, 1), 0.2), [load], Links(SLOW_UP), 1.0)
    assert times.end_s == pytest.approx([0.5] * 4)
    same = run_step(np.zeros(4), np.full((4, 1), 0.2), [Load(3e6, 3, 0, 0, 0)], Links(SLOW_UP), 1.0)
    assert same.end_s == pytest.approx([3.2] * 4)
    assert times.received[0, 0] == pytest.approx(2.1e6, rel=0.01)


@pytest.mark.parametrize("objective", ["kimad", "overlap:0.5", "error-bound:0.3"])
def test_a_slow_uplink_holds_nobody_up(objective: str) -> None:
    """Slow in both directions is what one plan for all comes to, with the same uplinks."""
    own, one, equal = (simulate(scenario(links=links, steps=60), objective) for links in (SLOW_UP, SLOW, EQUAL))
    progress = [(result.figures()["progress_per_s"] or 0.0) for result in (one, own, equal)]
    assert progress == sorted(progress)
    assert progress[1] > 1.15 * progress[0]
    if objective == "error-bound:0.3":
        own_s, one_s = (r.step_s[20:].mean() - r.compute_s[20:].mean() for r in (own, one))
        assert own_s < one_s / 2.5


@pytest.mark.parametrize("links", [EQUAL, SLOW, parse_links("walk:20,80,20", 4)], ids=["equal", "slow", "walk"])
def test_nobody_sends_less_for_nothing(links: list[HostLink]) -> None:
    one = scenario(links=links, steps=80)
    strategy = make_strategy("kimad", one.site, one.workload.layers)
    assert isinstance(strategy, Adaptive)
    who, observe = [], strategy.observe

    def watched(seen: Observation) -> None:
        observe(seen)
        who.append(strategy.plan.own_ranks)

    strategy.observe = watched  # type: ignore[method-assign]
    follow(one, "kimad", strategy)
    assert who == [()] * 80


def test_what_each_rank_owes_is_its_own() -> None:
    """The energy that arrives, in the mean of ranks, lies between those of the two plans."""
    result = simulate(scenario(links=SLOW_UP, steps=80, workload=workload(spread=0.0)), "kimad")
    fast, slow = (simulate(scenario(links=links, steps=80), "kimad").kept[40:].mean() for links in (EQUAL, SLOW))
    assert slow < result.kept[40:].mean() < fast

"""Whole simulated runs: what must come out of any of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kimad.config import SOLVERS
from kimad.sim import Scenario, SimulationError, simulate
from kimad.sim.simulate import HEADER_SHARE
from kimad.trace import Const, HostLink, Sine, Walk
from tests.sim.cases import same_for_all, scenario, workload

DENSE_BITS = 8 * 4 * (6 * 100_000 + 6 * 64)


def test_plain_ddp_is_bound_by_bytes_over_rate() -> None:
    result = simulate(scenario(10.0), "ddp")
    assert result.wire_bytes == pytest.approx(DENSE_BITS / 8)
    on_the_link_s = DENSE_BITS * HEADER_SHARE / 10e6
    assert (result.step_s > on_the_link_s).all()
    assert result.step_s.mean() == pytest.approx(on_the_link_s + 0.1, rel=0.03), "0.1 s until the first bucket is ready"


def test_a_fast_link_costs_nothing() -> None:
    for strategy in ("ddp", "kimad"):
        result = simulate(scenario(1e5), strategy)
        assert result.step_s[5:].mean() == pytest.approx(result.compute_s[5:].mean(), rel=0.02), strategy


def test_kimad_sends_less_on_a_slower_link() -> None:
    fast, slow = (simulate(scenario(mbps), "kimad") for mbps in (400.0, 4.0))
    assert slow.wire_bytes[10:].mean() < fast.wire_bytes[10:].mean() / 5
    assert slow.kept[10:].mean() < fast.kept[10:].mean()


def test_a_time_budget_is_kept_on_a_steady_link() -> None:
    result = simulate(scenario(20.0, workload=workload(spread=0.0)), "step-time:0.4")
    assert result.step_s[10:] == pytest.approx(0.4, rel=0.05)
    assert result.figures()["overshoot"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_keeps_a_time(solver: str) -> None:
    result = simulate(scenario(20.0, workload=workload(spread=0.0)), f"step-time:0.4@{solver}")
    assert (result.step_s[10:] <= 0.4 * 1.03).all()
    assert result.figures()["kept"]


def test_a_price_for_each_bucket_sends_more_while_computing() -> None:
    """The step is the same; what is sent of the first buckets before the last one is ready costs nothing."""
    left, step_s = {}, {}
    for solver in ("nested", "lagrangian"):
        result = simulate(scenario(50.0, workload=workload(spread=0.0)), f"overlap:0.2@{solver}")
        left[solver], step_s[solver] = 1 - result.kept[10:].mean(), result.step_s[10:].mean()
    assert step_s["nested"] <= 1.02 * step_s["lagrangian"]
    assert left["nested"] < 0.5 * left["lagrangian"]


def test_the_end_of_a_step_takes_its_seconds_from_the_next_one() -> None:
    more = dataclasses.replace(workload(spread=0.0), overhead_s={"fixed": 0.03, "adaptive": 0.05})
    for strategy, added_s in (("ddp", 0.0), ("topk:0.01", 0.03), ("kimad", 0.05)):
        without = simulate(scenario(1e5, workload=workload(spread=0.0)), strategy)
        result = simulate(scenario(1e5, workload=more), strategy)
        assert (result.step_s - without.step_s)[1:].mean() == pytest.approx(added_s, abs=1e-3), strategy
        assert result.step_s[0] == without.step_s[0]


def test_reading_the_curves_takes_time_in_the_steps_that_read_them() -> None:
    more = dataclasses.replace(workload(spread=0.0), overhead_s={"reading": 0.06})
    without = simulate(scenario(5.0, workload=workload(spread=0.0), steps=25), "error-bound:0.1")
    result = simulate(scenario(5.0, workload=more, steps=25), "error-bound:0.1")
    late = np.flatnonzero(result.step_s - without.step_s > 0.01)
    assert {10, 20} <= set(late.tolist()) <= {0, 1, 2, 10, 20}


def test_more_density_keeps_more() -> None:
    kept = [simulate(scenario(), f"topk:{density}").figures()["kept"] or 0 for density in (0.01, 0.1, 0.5)]
    assert kept == sorted(kept)
    assert simulate(scenario(), "ddp").figures()["kept"] == 1
    assert simulate(scenario(), "bf16").figures()["kept"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "strategy",
    ["ddp", "topk:0.1", "powersgd:2", "kimad", "overlap:0.1", "step-time:0.3@uniform", "step-time:0.3@knapsack"],
)
def test_the_same_scenario_gives_the_same_bytes(strategy: str) -> None:
    walk = [HostLink(Walk(5, 100, 20, i), Walk(5, 100, 20, i)) for i in range(3)]
    first, second = (simulate(scenario(links=walk, straggler_share=0.1, straggler_factor=3.0), strategy) for _ in "ab")
    for name in ("step_s", "wire_bytes", "kept", "predicted_s"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    other = simulate(scenario(links=walk, straggler_share=0.1, straggler_factor=3.0, seed=1), strategy)
    assert first.step_s.tobytes() != other.step_s.tobytes()


def test_equal_workers_count_as_many_as_they_are() -> None:
    """All-gather sends a frame to each of the others."""
    two, five = (simulate(scenario(20.0, workers), "topk:0.1") for workers in (2, 5))
    assert five.wire_bytes == pytest.approx(4 * two.wire_bytes)
    assert simulate(scenario(20.0, 5, exchange="sharded"), "topk:0.1").wire_bytes == pytest.approx(1.6 * two.wire_bytes)


def test_stragglers_hold_up_everybody() -> None:
    calm = simulate(scenario(1e5, 8, workload=workload(spread=0.0)), "ddp")
    held_up = simulate(
        scenario(1e5, 8, workload=workload(spread=0.0), straggler_share=1.0, straggler_factor=2.0), "ddp"
    )
    assert held_up.step_s.mean() == pytest.approx(2 * calm.step_s.mean(), rel=0.02)


def test_latency_is_paid_by_every_round() -> None:
    near, far = (simulate(scenario(100.0, workload=workload(spread=0.0), latency_s=s), "topk:0.1") for s in (0.0, 0.05))
    # Asked for and sent, 0.1 s a bucket; the second and third become ready 0.05 s after the one before.
    assert (far.step_s - near.step_s).mean() == pytest.approx(0.2, abs=0.01)


def test_zero_bandwidth_is_waited_through() -> None:
    dead = Sine(0.0, 40.0, 4.0)
    result = simulate(scenario(links=same_for_all(dead, 2)), "kimad")
    assert np.isfinite(result.step_s).all()


def test_the_slowest_of_many_links_counts() -> None:
    """Three hundred walks at once take longer than one that all share: now this one is slowest, now that."""
    calm = workload(spread=0.0)
    walks = [Walk(30, 330, 20, i) for i in range(300)]
    together = simulate(Scenario(calm, [HostLink(walk, walk) for walk in walks], steps=10), "ddp").step_s.sum()
    alone = [simulate(Scenario(calm, same_for_all(walk, 300), steps=10), "ddp").step_s.sum() for walk in walks[:40]]
    assert together > max(alone)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"links": [HostLink(Const(1), Const(1))]}, "workers: 1"),
        ({"steps": 0}, "steps is 0"),
        ({"exchange": "star"}, "allowed: auto, all-gather, ring, sharded"),
        ({"latency_s": -1.0}, "latency_s"),
        ({"latency_s": float("nan")}, "latency_s"),
        ({"straggler_share": 1.5}, "straggler_share"),
        ({"straggler_factor": 0.5}, "straggler_factor"),
    ],
)
def test_bad_scenarios_are_refused(settings: dict[str, object], what: str) -> None:
    with pytest.raises(SimulationError, match=what):
        scenario(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "powersgd",
        "powersgd:0",
        "powersgd:x",
        "powersgd:2@uniform",
        "topk",
        "topk:2",
        "ddp@uniform",
        "kimad@best",
    ],
)
def test_unknown_strategies_are_refused(text: str) -> None:
    with pytest.raises(SimulationError):
        simulate(scenario(steps=1), text)


def test_every_default_strategy_runs() -> None:
    one = scenario(steps=5)
    assert "kimad" in one.strategies
    for text in one.strategies:
        figures = simulate(one, text).figures()
        assert figures["mean_step_s"] is not None, text

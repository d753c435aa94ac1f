"""The planner on synthetic statistics: no harm on a fast link, compression on a slow one, probes, bounded waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pytest

from kimad import Config, ErrorBound, Objective, Overlap, Progress, StepTime
from kimad.compressors import Option
from kimad.config import SOLVERS
from kimad.decide import Decision, Planner, first_plan, most_cold_start_bytes
from kimad.layout import Layer, pack
from kimad.monitor import FIRST_PIECE_BYTES, MIN_SAMPLE_BYTES, LinkSample, LinkSamples
from kimad.observation import Observation
from kimad.plan import BUCKET_HEADER_BYTES, FLOAT32, Plan
from kimad.solver import Uniform
from kimad.statistics import OPERATORS, Everyone, Statistics
from tests.unit.cases import Model, heavy_model

MODEL = heavy_model(24, seed=5)
COMPUTE_S = 0.2
MB = 1 << 20
FAST, SLOW = 100e9, 10e6


def statistics(model: Model = MODEL, *, delay_s: float = 0.0, factor: float = 0.0) -> Statistics:
    """A step in which buckets became ready evenly over the compute time. factor: measured over expected coding time."""
    buckets = len(model.buckets)
    ready_s = COMPUTE_S * np.arange(1, buckets + 1) / buckets + delay_s
    expected_s = np.full(len(OPERATORS), 0.01 if factor else 0.0)
    return Statistics(
        False, 0.0, (0, 0.0), (0, 0.0), ready_s, 0.0, 0.0, 0.0, 1.0, expected_s, factor * expected_s,
        np.zeros(len(model.layers), bool),
    )  # fmt: skip


@final
@dataclass
class Run:
    """A planner that is told of steps, one a second."""

    planner: Planner
    plan: Plan
    now_s: float = 0.0

    def step(self, *bps: float, size: int = 4 * MB, samples: bool = True) -> Decision:
        """One step at these rates, one a rank (one for both if single)."""
        self.now_s += 1.0
        rates = bps if len(bps) > 1 else bps * 2
        if samples:
            self.planner.observe_links(LinkSamples.of([LinkSample(self.now_s, r, size, 8 * size / r) for r in rates]))
        decision = self.planner.decide(self.plan, self.now_s)
        self.plan = decision.plan
        return decision

    def wire_bytes(self) -> int:
        return sum(self.plan.wire_bytes(pack(bucket), 2) - BUCKET_HEADER_BYTES for bucket in MODEL.buckets)


def run(objective: Objective | None = None, extra: Sequence[Layer] = (), **settings: object) -> Run:
    """A planner that knows gradients and compute times, and no link yet."""
    config = Config(objective=objective or Progress(), **settings)  # type: ignore[arg-type]
    layers = [*extra, *MODEL.layers]
    planner = Planner(config, layers, 2)
    planner.observe_step(MODEL.buckets, Everyone.of([statistics()] * 2))
    nothing = np.zeros((len(extra), MODEL.curves[0].energy.size))
    planner.observe_curves(np.vstack([nothing, *(c.energy for c in MODEL.curves)]))
    return Run(planner, Plan(0, dict.fromkeys((layer.name for layer in layers), Option("int8"))))


OBJECTIVES = [Progress(), StepTime(0.6), Overlap(0.1), ErrorBound(0.05)]


@pytest.mark.parametrize("objective", [Progress(), StepTime(5.0), Overlap(0.1)], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_fast_link_is_left_alone(objective: Objective, solver: str) -> None:
    decision = run(objective, solver=solver).step(FAST)
    assert set(decision.plan.options.values()) == {FLOAT32}
    assert decision.predicted["error"] == 0
    assert decision.predicted["step_s"] == pytest.approx(COMPUTE_S, rel=0.02)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_slow_link_is_spared(objective: Objective, solver: str) -> None:
    slow = run(objective, solver=solver)
    decision = slow.step(SLOW)
    assert slow.wire_bytes() < 0.4 * 4 * sum(layer.numel for layer in MODEL.layers)
    assert any(option.operator == "topk" for option in decision.plan.options.values())
    assert 0 < decision.predicted["error"] < 1
    assert all(np.isfinite(value) for value in decision.predicted.values())


def test_a_time_is_kept_where_it_can_be() -> None:
    for seconds in (0.3, 0.5, 1.0):
        timed = run(StepTime(seconds))
        decision = timed.step(SLOW)
        assert 0.95 * seconds < decision.predicted["step_s"] <= seconds * (1 + 1e-9)
        assert timed.wire_bytes() * 8 / SLOW <= seconds


def test_more_time_means_less_error() -> None:
    errors = [run(StepTime(seconds)).step(SLOW).predicted["error"] for seconds in (0.25, 0.4, 0.8, 1.6, 6.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1]


def test_an_error_bound_is_kept_at_any_rate() -> None:
    for bps in (1e5, SLOW, 1e9, FAST):
        assert run(ErrorBound(0.05)).step(bps).predicted["error"] <= 0.05


@pytest.mark.parametrize("bps", [1e6, SLOW, 100e6, 1e9])
def test_uniform_takes_the_best_point_of_its_own_frontier(bps: float) -> None:
    """The cheapest one within the error bound, and not one of its neighbours."""
    for eps in (0.5, 0.2, 0.05, 0.01):
        uniform = run(ErrorBound(eps), solver="uniform")
        found = uniform.step(bps).predicted
        forecast = uniform.planner.forecast(uniform.now_s)
        assert forecast is not None
        frontier = Uniform().frontier(MODEL.menu(forecast.low_bps))
        within = [c for c in frontier if c.error <= eps * MODEL.menu().total]
        assert found["link_s"] + found["coding_s"] == pytest.approx(min(c.cost_s for c in within))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_the_same_input_gives_the_same_plan(objective: Objective) -> None:
    ours, theirs = run(objective), run(objective)
    for bps in (SLOW, 40e6, 3e6, FAST, 5e6):
        assert ours.step(bps).plan.digest() == theirs.step(bps).plan.digest()
        assert ours.plan == theirs.plan


def test_before_a_forecast_the_plan_stays() -> None:
    waiting = run()
    options = dict(waiting.plan.options)
    for step in range(1, 4):
        decision = waiting.step(SLOW, samples=False)
        assert decision == Decision(Plan(step, options), {}, None, 0.0)
    assert waiting.planner.forecast(9.0) is None
    waiting.step(SLOW)
    assert waiting.plan.step == 4
    assert waiting.plan.options != options


def test_every_link_must_be_measured_first() -> None:
    waiting = run()
    waiting.planner.observe_links(LinkSamples.of([LinkSample(1.0, SLOW, MB, 1.0), None]))
    assert waiting.planner.forecast(1.0) is None
    waiting.planner.observe_links(LinkSamples.of([None, LinkSample(2.0, 2 * SLOW, MB, 1.0)]))
    forecast = waiting.planner.forecast(2.0)
    assert forecast is not None
    assert forecast.mean_bps == pytest.approx(SLOW)


def test_before_a_reading_of_the_gradients_the_plan_stays() -> None:
    planner = Planner(Config(), MODEL.layers, 2)
    planner.observe_step(MODEL.buckets, Everyone.of([statistics()] * 2))
    planner.observe_links(LinkSamples.of([LinkSample(1.0, SLOW, MB, 1.0)] * 2))
    plan = Plan(4, dict.fromkeys((layer.name for layer in MODEL.layers), FLOAT32))
    assert planner.decide(plan, 1.0).plan == Plan(5, plan.options)
    planner.observe_curves(np.zeros((len(MODEL.layers), MODEL.curves[0].energy.size)))
    assert planner.decide(plan, 1.0).plan == Plan(5, plan.options)


def test_the_slowest_rank_is_planned_for() -> None:
    assert run().step(SLOW, FAST).plan == run().step(SLOW, SLOW).plan == run().step(FAST, SLOW).plan


def test_layers_outside_every_bucket_have_an_option_too() -> None:
    extra = [Layer("frozen.weight", (1000, 1000)), Layer("frozen.bias", (7,))]
    aside = run(extra=extra)
    plan = aside.step(SLOW).plan
    assert list(plan.options) == ["frozen.weight", "frozen.bias", *(layer.name for layer in MODEL.layers)]
    assert {plan.options[layer.name] for layer in extra} == {FLOAT32}
    assert {name: plan.options[name] for name in run().step(SLOW).plan.options} == run().step(SLOW).plan.options
    assert Plan.from_message(plan.to_message(), [*extra, *MODEL.layers]) == plan


def test_a_link_not_measured_for_long_is_probed() -> None:
    """With as much as one sample needs, however large the model is; and again when that is as old."""
    tiny = run(ErrorBound(0.99), probe_after_s=5.0)
    tiny.step(SLOW)
    usual = tiny.wire_bytes()
    assert usual < MIN_SAMPLE_BYTES
    sent = []
    for _ in range(6):
        tiny.step(SLOW, samples=False)
        sent.append(tiny.wire_bytes())
    assert sent[:5] == [usual] * 5
    first_pieces = FIRST_PIECE_BYTES * len(MODEL.buckets)
    assert MIN_SAMPLE_BYTES + FIRST_PIECE_BYTES <= sent[5] <= 1.1 * MIN_SAMPLE_BYTES + first_pieces
    tiny.step(SLOW)
    assert tiny.wire_bytes() == usual


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_layer_is_dropped_for_longer_than_allowed(solver: str) -> None:
    limit = 4
    starved = run(StepTime(COMPUTE_S / 2), max_drop_steps=limit, solver=solver)
    since = dict.fromkeys(starved.plan.options, 0)
    longest = 0
    for _ in range(3 * limit):
        for name, option in starved.step(1e5).plan.options.items():
            since[name] = since[name] + 1 if option.operator == "drop" else 0
        longest = max(longest, *since.values())
    assert longest == limit


def test_one_sleeping_step_does_not_move_the_timeline() -> None:
    calm, disturbed = run(), run()
    for at in range(6):
        calm.planner.observe_step(MODEL.buckets, Everyone.of([statistics()] * 2))
        delay_s = 60.0 if at == 3 else 0.0
        disturbed.planner.observe_step(MODEL.buckets, Everyone.of([statistics(), statistics(delay_s=delay_s)]))
    assert disturbed.step(SLOW).plan == calm.step(SLOW).plan


@pytest.mark.parametrize("solver", ["nested", "lagrangian"])
def test_dear_coding_is_avoided(solver: str) -> None:
    """On a middling link compression pays only while it is quick."""
    quick, dear = run(solver=solver), run(solver=solver)
    for _ in range(30):
        dear.planner.observe_step(MODEL.buckets, Everyone.of([statistics(), statistics(factor=15.0)]))
    bps = 400e6
    errors = [r.step(bps).predicted["error"] for r in (quick, dear)]
    assert dear.wire_bytes() > quick.wire_bytes()
    coded = [sum(la.numel for la in MODEL.layers if r.plan.options[la.name].operator in ("topk", "int8"))
             for r in (quick, dear)]  # fmt: skip
    assert coded[0] > 100_000
    assert coded[1] < 0.1 * coded[0]
    if solver == "lagrangian":  # all or nothing, where a price for each bucket still has the last one compressed
        assert errors[0] > errors[1]


def test_new_buckets_make_a_new_menu() -> None:
    rebuilt = run()
    rebuilt.step(SLOW)
    buckets = tuple(reversed(MODEL.buckets))
    for _ in range(2):
        rebuilt.planner.observe_step(buckets, Everyone.of([statistics()] * 2))
    decision = rebuilt.step(SLOW)
    assert list(decision.plan.options) == [layer.name for layer in MODEL.layers]
    assert decision.predicted["compute_s"] == pytest.approx(COMPUTE_S)


def test_why_is_said_once_something_was_decided() -> None:
    waiting = run()
    assert waiting.step(SLOW, samples=False).why == ""
    assert "sparse" in waiting.step(SLOW).why
    assert run().step(FAST).why.startswith("dense float32, ")


@pytest.mark.parametrize("wire_s", [0.005, 0.5])
def test_a_start_that_is_over_at_once_and_measures_nothing_grows(wire_s: float) -> None:
    """A budget below what a sample needs would otherwise be the plan for ever."""
    config = Config(cold_start_bytes=20_000)
    planner, plan = Planner(config, MODEL.layers, 2), first_plan(config, MODEL.layers, 2)
    sent = []
    for step in range(1, 9):
        one = replace(statistics(), wire_s=wire_s)
        planner.observe(Observation.of(step, float(step), MODEL.buckets, Everyone.of([one, one]), None))
        plan = planner.decide(plan, float(step)).plan
        sent.append(sum(plan.wire_bytes(pack(bucket), 2) for bucket in MODEL.buckets))
    assert plan.step == 8
    if wire_s > 0.1:  # a slow link is not given more
        assert max(sent) <= 20_000
    else:
        assert 20_000 < sent[0] <= 40_000
        assert sent[-1] > 60_000
        assert sent[-1] <= most_cold_start_bytes(MODEL.layers, 2)

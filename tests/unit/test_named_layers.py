"""Layers by name in the plans: dense ones always travel whole, weights count in what is minimised."""

from __future__ import annotations

import numpy as np
import pytest

from kimad import Config, ConfigError, ErrorBound, Fixed, Objective, Overlap, Progress, StepTime
from kimad.compressors import Option, compressor
from kimad.cost import CodingCost
from kimad.decide import Decision, Planner, first_plan
from kimad.layout import Layer, pack
from kimad.menu import WHOLE, Menu, MenuMaker
from kimad.monitor import LinkSample, LinkSamples
from kimad.patterns import ByName
from kimad.plan import BFLOAT16, FLOAT32, Plan, cold_start_plan
from kimad.solver import ALL_SOLVERS, Lagrangian, Uniform
from kimad.statistics import OPERATORS, Everyone, Statistics
from tests.unit.cases import BPS, heavy_model

MODEL = heavy_model(24, seed=5)
NAMES = [layer.name for layer in MODEL.layers]
LARGEST = max(MODEL.layers, key=lambda layer: layer.numel).name
SMALLEST = min(MODEL.layers, key=lambda layer: layer.numel).name
PATTERNS = (LARGEST, SMALLEST, "layer1[1-3].weight")
DENSE = Config(dense=PATTERNS).by_name(NAMES).dense
OBJECTIVES = [Progress(), StepTime(0.3), Overlap(0.1), ErrorBound(0.3)]


def menu(named: ByName, bps: float = BPS) -> Menu:
    maker = MenuMaker(MODEL.buckets, 2, named=named)
    return maker.make(bps, CodingCost(), MODEL.curves, [False] * len(NAMES))


def decided(bps: float, **settings: object) -> Decision:
    """The first plan of a planner that knows gradients, times and the link."""
    planner = Planner(Config(**settings), MODEL.layers, 2)  # type: ignore[arg-type]
    count, nothing = len(MODEL.buckets), np.zeros(len(OPERATORS))
    ready_s = 0.2 * np.arange(1, count + 1) / count
    own = Statistics(
        False, 0.0, (0, 0.0), (0, 0.0), ready_s, 0.0, 0.0, 0.0, 1.0, nothing, nothing, np.zeros(len(NAMES), bool)
    )
    planner.observe_step(MODEL.buckets, Everyone.of([own] * 2))
    planner.observe_curves(np.stack([curve.energy for curve in MODEL.curves]))
    planner.observe_links(LinkSamples.of([LinkSample(1.0, bps, 4 << 20, 1.0)] * 2))
    return planner.decide(Plan(0, dict.fromkeys(NAMES, FLOAT32)), 1.0)


def test_the_case_has_layers_of_every_kind() -> None:
    assert 3 <= len(DENSE) < len(NAMES) / 2
    others = [layer for layer in MODEL.layers if layer.name not in DENSE]
    assert min(layer.numel for layer in others) < 1024 < max(layer.numel for layer in others)


@pytest.mark.parametrize("solver", list(ALL_SOLVERS))
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("bps", [1e5, 10e6, 300e6, 100e9])
def test_dense_layers_travel_whole_whatever_is_wanted(bps: float, objective: Objective, solver: str) -> None:
    options = decided(bps, objective=objective, solver=solver, dense=PATTERNS).plan.options
    assert {options[name] for name in DENSE} <= {FLOAT32, BFLOAT16}
    if bps == 1e5 and not isinstance(objective, ErrorBound):
        others = {options[name].operator for name in NAMES if name not in DENSE}
        assert others & {"topk", "drop"}, "and the others do not"


@pytest.mark.parametrize("solver", list(ALL_SOLVERS))
def test_every_choice_of_a_frontier_keeps_them_whole(solver: str) -> None:
    named = Config(dense=PATTERNS).by_name(NAMES)
    own = menu(named)
    columns = MenuMaker(MODEL.buckets, 2, named=named).columns
    frontier = ALL_SOLVERS[solver].frontier(own)
    assert len({choice.cost_s for choice in frontier}) > 10
    for choice in [*frontier, ALL_SOLVERS[solver].solve(own, 0.0), ALL_SOLVERS[solver].solve(own, 0.05)]:
        assert np.isfinite(choice.error)
        in_bucket = np.searchsorted(own.starts, np.arange(len(NAMES)), side="right") - 1
        for i in (i for i, name in enumerate(NAMES) if name in DENSE):
            travels = choice.whole[in_bucket[i]] >= 0
            assert travels or columns[int(choice.column[i])].operator in ("float32", "bfloat16")


def test_a_bucket_that_travels_whole_counts_as_its_layers_do() -> None:
    """The ways of a whole bucket have the error, weights included, of all its layers at that option."""
    named = Config(weight={"*": 0.5, LARGEST: 8.0}, dense=(SMALLEST,)).by_name(NAMES)
    own, columns = menu(named), MenuMaker(MODEL.buckets, 2, named=named).columns
    for way, option in enumerate(WHOLE):
        j = next(j for j, column in enumerate(columns) if column.operator == option.operator)
        assert own.whole_error[:, way] == pytest.approx(np.add.reduceat(own.error[:, j], own.starts))


def test_dense_costs_what_it_costs() -> None:
    """The cheapest choice is no longer nothing at all, and no other layer is sent for it."""
    own = menu(Config(dense=PATTERNS).by_name(NAMES))
    least = Lagrangian().solve(own, 0.0)
    columns = MenuMaker(MODEL.buckets, 2).columns
    sent = {NAMES[i] for i, j in enumerate(least.column.tolist()) if columns[j].operator != "drop"}
    assert sent == DENSE
    numel = sum(layer.numel for layer in MODEL.layers if layer.name in DENSE)
    assert least.cost_s > 2 * numel * 8 / BPS


def test_uniform_density_stays_sparse_beside_them() -> None:
    frontier = Uniform().frontier(menu(Config(dense=PATTERNS).by_name(NAMES)))
    plain = Uniform().frontier(menu(Config().by_name(NAMES)))
    assert len(frontier) == len(plain)
    assert frontier[0].cost_s < 0.5 * frontier[-1].cost_s


def test_a_menu_that_is_left_empty_names_the_setting() -> None:
    named = Config(dense=(LARGEST,)).by_name(NAMES)
    with pytest.raises(ConfigError, match=rf"^dense names {LARGEST}, .* drop, topk, int8; .* float32, bfloat16$"):
        MenuMaker(MODEL.buckets, 2, offered=("drop", "topk", "int8"), named=named)
    MenuMaker(MODEL.buckets, 2, offered=("drop", "topk", "int8"))


@pytest.mark.parametrize("operator", ["topk", "int8", "drop", "sign", "float16", "bfloat16", "float32"])
def test_fixed_plans_spare_dense_layers(operator: str) -> None:
    fixed = Fixed("topk", 0.01, "log4") if operator == "topk" else Fixed(operator)
    options = first_plan(Config(fixed, dense=PATTERNS), MODEL.layers, 2).options
    kept = BFLOAT16 if operator == "bfloat16" else FLOAT32
    assert {options[name] for name in DENSE} == {kept}
    assert {options[name].operator for name in NAMES if name not in DENSE} == {operator}


@pytest.mark.parametrize("budget_bytes", [1, 1000, 100_000, 300_000, 1 << 20, 4 << 20, 1 << 30])
@pytest.mark.parametrize("world_size", [2, 5])
def test_the_cold_start_keeps_them_whole_and_gives_the_rest_what_is_left(budget_bytes: int, world_size: int) -> None:
    config = Config(dense=PATTERNS, cold_start_bytes=budget_bytes)
    plan = first_plan(config, MODEL.layers, world_size)
    assert {plan.options[name] for name in DENSE} <= {FLOAT32, BFLOAT16}
    assert list(plan.options) == NAMES
    slots = [pack([layer]) for layer in MODEL.layers]
    alone = Plan(0, {name: BFLOAT16 if name in DENSE else Option("drop") for name in NAMES})
    least = sum((world_size - 1) * alone.frame_bytes(one) for one in slots)
    spent = sum((world_size - 1) * plan.frame_bytes(one) for one in slots)
    if plan.options[SMALLEST] == BFLOAT16:
        assert spent <= max(budget_bytes, least)
    if budget_bytes < least:
        assert {plan.options[name].operator for name in NAMES if name not in DENSE} == {"drop"}


def test_without_names_the_cold_start_is_what_it_was() -> None:
    for budget in (1, 50_000, 1 << 20, 3 << 20):
        assert cold_start_plan(MODEL.layers, budget, 2, dense=()) == cold_start_plan(MODEL.layers, budget, 2)


@pytest.mark.parametrize("objective", [Progress(), StepTime(0.4), Overlap(0.5)], ids=str)
def test_a_heavier_layer_is_sent_more_of(objective: Objective) -> None:
    """Little of the layer is sent by itself; a weight of 100 moves the budget to it."""
    plain = decided(3e6, objective=objective)
    light = min(NAMES, key=lambda name: MODEL.curves[NAMES.index(name)].total / MODEL.layers[NAMES.index(name)].numel)
    heavy = decided(3e6, objective=objective, weight={light: 1e4})
    assert sent_share(heavy, light) > sent_share(plain, light) + 0.05
    others = [name for name in NAMES if name != light]
    if isinstance(objective, StepTime):
        assert sum(sent_share(heavy, n) for n in others) < sum(sent_share(plain, n) for n in others)


def sent_share(decision: Decision, name: str) -> float:
    """Share of a layer's energy that a plan sends, but for the value code."""
    option, curve = decision.plan.options[name], MODEL.curves[NAMES.index(name)]
    if option.operator == "drop":
        return 0.0
    return float(curve.kept(np.array([option.k]))[0]) / curve.total if option.k else 1.0


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("solver", list(ALL_SOLVERS))
def test_one_weight_for_all_changes_nothing(objective: Objective, solver: str) -> None:
    for bps in (1e6, 30e6, 1e9):
        plain = decided(bps, objective=objective, solver=solver)
        scaled = decided(bps, objective=objective, solver=solver, weight={"*": 4.0})  # a power of two: to the last bit
        assert scaled.plan == plain.plan
        assert scaled.predicted == pytest.approx(plain.predicted, rel=1e-12)
        ones = decided(bps, objective=objective, solver=solver, weight={"*": 1.0})
        assert (ones.plan, ones.predicted) == (plain.plan, plain.predicted)


def test_the_relative_error_is_a_share_of_the_weighted_energy() -> None:
    """It is that of the plan itself, from its options: sum of w e over sum of w |owed|^2."""
    named = {"*": 1e-3, LARGEST: 50.0}
    decision = decided(3e6, objective=StepTime(0.4), weight=named)
    weight = Config(weight=named).by_name(NAMES).weight
    energy = np.array([weight[name] * MODEL.curves[i].total for i, name in enumerate(NAMES)])
    error = 0.0
    for name, curve in zip(NAMES, MODEL.curves, strict=True):
        option = decision.plan.options[name]
        error += weight[name] * float(compressor(option.operator).errors(np.array([option.k]), option.values, curve)[0])
    assert 0 < decision.predicted["error"] < 1
    assert decision.predicted["error"] == pytest.approx(error / energy.sum(), rel=1e-6)
    assert decided(100e9, weight=named).predicted["error"] == 0


def test_an_error_bound_is_one_of_the_weighted_error() -> None:
    for named in ({}, {LARGEST: 100.0}, {SMALLEST: 1e-3}):
        assert decided(1e6, objective=ErrorBound(0.1), weight=named).predicted["error"] <= 0.1


def test_patterns_are_of_all_the_models_parameters() -> None:
    """A planner of a model, part of which no bucket carries, knows these names too."""
    aside = Layer("aside.weight", (10,))
    Planner(Config(dense=("aside.*",)), [aside, *MODEL.layers], 2)
    for build in (Planner, first_plan):
        with pytest.raises(ConfigError, match="dense pattern 'aside"):
            build(Config(dense=("aside.*",)), MODEL.layers, 2)

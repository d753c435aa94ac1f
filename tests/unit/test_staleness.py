"""Bounded staleness: counted, carried on between readings, told to the menu, and obeyed by every solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad import Config, ErrorBound, Objective, Progress, StepTime
from kimad.cost import CodingCost
from kimad.decide import Planner
from kimad.menu import Menu, MenuMaker
from kimad.monitor import LinkSample, LinkSamples
from kimad.observation import Observation
from kimad.plan import FLOAT32, Plan
from kimad.solver import ALL_SOLVERS
from kimad.staleness import Staleness
from kimad.statistics import OPERATORS, Everyone, Statistics
from tests.unit.cases import BPS, heavy_model

Floats = NDArray[np.float64]

MODEL = heavy_model(24, seed=5)
ENERGY = np.stack([curve.energy for curve in MODEL.curves])
OWED = ENERGY[:, -1]
COUNT = len(OWED)


def numbers(*values: float) -> Floats:
    return np.array(values, np.float64)


def test_dropped_steps_are_counted_in_a_row() -> None:
    waiting = Staleness(2, 3, 1e30)
    for dropped, overdue in (([1, 1], [0, 0]), ([1, 0], [0, 0]), ([1, 1], [1, 0]), ([1, 1], [1, 0]), ([0, 1], [0, 1])):
        waiting.planned(np.array(dropped, bool), np.array(dropped, np.float64))
        assert waiting.overdue.tolist() == [bool(one) for one in overdue]


def test_nothing_is_asked_for_before_a_reading() -> None:
    waiting = Staleness(3, 50, 2.0)
    for _ in range(30):
        waiting.planned(np.ones(3, bool), np.ones(3))
        assert not waiting.least_share.any()


def starved(waiting: Staleness) -> list[bool]:
    return [bool(share) for share in waiting.least_share]


def test_what_is_owed_is_carried_on_between_readings() -> None:
    """Gradients of energy 1: a layer that is dropped owes one more each step, one that is sent whole owes one."""
    waiting = Staleness(3, 50, 4.5)
    left = numbers(1.0, 0.0, 0.5)
    waiting.planned(np.zeros(3, bool), left)
    waiting.read(numbers(1.0, 1.0, 1.0), np.ones(3))
    asked = []
    for _ in range(5):
        asked.append(waiting.least_share[0])
        assert starved(waiting)[1:] == [False, False]  # the third settles at an energy of 2
        waiting.planned(np.zeros(3, bool), left)
    assert asked == pytest.approx([0, 0, 0, 1 / 4.5, 1 / 4.5])  # it owes 2, 3, 4, 5, 6


def test_a_backlog_shrinks_to_the_bound() -> None:
    """Whatever it was, and though nothing is sent but what the rule asks for."""
    for backlog in (31.0, 1e3, 1e9):
        waiting = Staleness(1, 50, 30.0)
        waiting.planned(np.zeros(1, bool), np.ones(1))
        waiting.read(numbers(backlog), np.ones(1))
        assert starved(waiting) == [True]
        for _ in range(round(30 * np.log(backlog))):
            waiting.planned(np.zeros(1, bool), 1 - waiting.least_share)
        assert 29 < waiting._owed[0] < 33


def test_a_reading_is_of_the_step_before_the_next_plan() -> None:
    """What the plan in force sent of it is owed no more."""
    waiting = Staleness(2, 50, 10.5)
    waiting.planned(np.zeros(2, bool), numbers(0.25, 1.0))
    waiting.read(numbers(36.0, 36.0), np.ones(2))  # in the step to come: 10 and 37
    assert starved(waiting) == [False, True]


def test_gradients_are_averaged_over_readings() -> None:
    for factor, expected in ((20.9, True), (21.1, False)):
        waiting = Staleness(1, 50, factor)
        waiting.planned(np.zeros(1, bool), np.ones(1))
        waiting.read(numbers(100.0), numbers(8.0))
        waiting.read(numbers(100.0), numbers(2.0))  # a mean of 5, and 105 in the step to come
        assert starved(waiting) == [expected]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reading_that_overflowed_is_none(bad: float) -> None:
    waiting = Staleness(2, 50, 4.0)
    for owed, gradient in ((numbers(bad, 9.0), np.ones(2)), (numbers(9.0, 9.0), numbers(1.0, bad))):
        waiting.read(owed, gradient)
        assert not waiting.least_share.any()
    waiting.read(numbers(9.0, 1.0), np.ones(2))
    assert waiting.least_share.tolist() == [0.25, 0]


def test_a_layer_without_a_gradient_sends_what_it_owes() -> None:
    waiting = Staleness(2, 50, 4.0)
    waiting.read(numbers(9.0, 0.0), np.zeros(2))
    assert waiting.least_share.tolist() == [0.25, 0]


@given(
    st.lists(st.tuples(st.floats(0, 1e30), st.floats(0, 1e30), st.floats(0, 1)), min_size=1, max_size=5),
    st.floats(0.1, 1e6),
)
def test_never_more_than_one_part_in_r_of_a_backlog(layers: list[tuple[float, float, float]], factor: float) -> None:
    owed, gradient, left = (np.array(column) for column in zip(*layers, strict=True))
    waiting = Staleness(len(layers), 50, factor)
    for _ in range(3):
        waiting.read(owed, gradient)
        waiting.planned(left == 1, left)
        share = waiting.least_share
        assert np.isfinite(share).all()
        assert set(share.tolist()) <= {0.0, min(1.0, 1 / factor)}


def made(least_share: Floats | None = None) -> tuple[MenuMaker, Menu]:
    maker = MenuMaker(MODEL.buckets, 2)
    return maker, maker.make(BPS, CodingCost(), MODEL.curves, [False] * COUNT, least_share)


@pytest.mark.parametrize("solver", list(ALL_SOLVERS))
@pytest.mark.parametrize("share", [1e-4, 0.03, 0.4, 1.0])
def test_so_much_is_sent_at_any_price(solver: str, share: float) -> None:
    asked = np.where(np.arange(COUNT) % 3 == 0, share, 0.0)
    maker, menu = made(asked)
    frontier = [*ALL_SOLVERS[solver].frontier(menu), ALL_SOLVERS[solver].solve(menu, 0.0)]
    for choice in frontier:
        left = maker.left(menu, choice.column, choice.whole)
        assert (left[asked > 0] <= 1 - share + 1e-12).all()
        assert np.isfinite(choice.error)
    assert frontier[-1].cost_s > 0, "and the solver knows what that costs"


def test_uniform_density_gives_a_starved_layer_the_next_denser_column() -> None:
    """And not all of it in 8 bits, which is what it has for layers that are too small for sparse ones."""
    large, other = np.argsort([-layer.numel for layer in MODEL.layers])[:2].tolist()
    maker, menu = made(np.where(np.arange(COUNT) == large, 0.05, 0.0))
    sparse = [c for c in ALL_SOLVERS["uniform"].frontier(menu) if c.k[other] > 0 and (c.whole < 0).all()]
    assert len(sparse) > 20
    for choice in sparse:
        assert choice.k[large] > 0
        assert maker.left(menu, choice.column, choice.whole)[large] <= 0.95
    density = [choice.k[large] / MODEL.layers[large].numel for choice in sparse]
    assert min(density) < 0.02
    same = [c for c in sparse if c.column[large] == c.column[other]]
    assert 0 < len(same) < len(sparse)


def test_nothing_asked_for_is_the_menu_as_it_was() -> None:
    assert made(np.zeros(COUNT))[1].error.tobytes() == made()[1].error.tobytes()


def everyone() -> Everyone:
    count, nothing = len(MODEL.buckets), np.zeros(len(OPERATORS))
    ready_s = 0.2 * np.arange(1, count + 1) / count
    own = Statistics(
        False, 0.0, (0, 0.0), (0, 0.0), ready_s, 0.0, 0.0, 0.0, 1.0, nothing, nothing, np.zeros(COUNT, bool)
    )
    return Everyone.of([own] * 2)


def plans(gradient: Floats | None, steps: int = 40, bps: float = 1e5, **settings: object) -> list[Plan]:
    """Decisions one a second; every tenth step the same curves are read, and a gradient if there is one."""
    planner = Planner(Config(**settings), MODEL.layers, 2)  # type: ignore[arg-type]
    out = [Plan(0, dict.fromkeys((layer.name for layer in MODEL.layers), FLOAT32))]
    for step in range(steps):
        samples = LinkSamples.of([LinkSample(float(step), bps, 4 << 20, 1.0)] * 2)
        reading = (ENERGY, gradient) if step % 10 == 0 else (None, None)
        planner.observe(Observation(float(step), MODEL.buckets, everyone(), samples, *reading))
        out.append(planner.decide(out[-1], float(step)).plan)
    return out[1:]


@pytest.mark.parametrize("solver", list(ALL_SOLVERS))
@pytest.mark.parametrize("objective", [Progress(), StepTime(0.1), ErrorBound(0.9)], ids=str)
def test_of_a_starved_layer_a_share_arrives(objective: Objective, solver: str) -> None:
    """Two layers that owe more than three times their gradients' energy, and are dropped or sent a few entries of."""
    by_energy = np.argsort(OWED)
    few = [int(i) for i in by_energy if MODEL.layers[int(i)].numel > 5000][:2]
    gradient = OWED.copy()
    gradient[few] = OWED[few] / 4
    before = plans(gradient, 1, objective=objective, solver=solver, max_owed_factor=1e30)[0]
    after = plans(gradient, 1, objective=objective, solver=solver, max_owed_factor=3.0)[0]
    assert all(arrives(before, i) < OWED[i] / 3 for i in few), "else there was nothing to do"
    assert all(arrives(after, i) >= OWED[i] / 3 for i in few)


def arrives(plan: Plan, i: int) -> float:
    """Energy that a plan sends of a layer, but for its value code."""
    option = plan.options[MODEL.layers[i].name]
    if option.operator == "drop":
        return 0.0
    return float(MODEL.curves[i].kept(np.array([option.k]))[0]) if option.k else float(OWED[i])


def test_a_factor_out_of_reach_changes_no_plan() -> None:
    for objective in (Progress(), StepTime(0.1)):
        free = plans(None, objective=objective)
        bound = plans(OWED / 3, objective=objective, max_owed_factor=1e30)
        assert [plan.to_message() for plan in free] == [plan.to_message() for plan in bound]


def test_a_dropped_layer_starves_between_two_readings() -> None:
    """It owes one gradient more each step; so it is sent after R of them, though no reading has seen it."""
    waits = []
    for factor in (3.0, 6.0):
        run = plans(OWED, 9, objective=StepTime(0.1), max_owed_factor=factor)
        dropped = [name for name, option in run[0].options.items() if option.operator == "drop"]
        assert dropped
        waits.append(max(next(t for t, plan in enumerate(run) if plan.options[n].operator != "drop") for n in dropped))
    assert waits[0] < waits[1] <= 6

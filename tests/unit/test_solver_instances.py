"""All solvers on five thousand small random menus, against every plan that there is; on larger ones, against HiGHS."""

from __future__ import annotations

import numpy as np
import pytest

from kimad.solver import ALL_SOLVERS, Nested
from kimad.solver.knapsack import BINS
from kimad.timeline import finish_s
from tests.unit.instances import Plans, figures_of, integer_optimum, largest_move, random_menu

INSTANCES, PARTS = 5000, 10
TIGHT = 1 + 1e-9
BY_PRICE = ("nested", "lagrangian")


def bins_lost(budget_s: float, cheapest_s: float, layers: int, buckets: int) -> float:
    """Seconds of the knapsack's stated gap."""
    return (layers + buckets + 1) * (budget_s - cheapest_s) / BINS


@pytest.mark.parametrize("part", range(PARTS))
def test_against_every_plan(part: int) -> None:
    gaps: dict[str, list[float]] = {name: [] for name in ALL_SOLVERS}
    for seed in range(part, INSTANCES, PARTS):
        menu, rng = random_menu(seed), np.random.default_rng([seed, 1])
        plans = Plans.of(menu)
        cheapest_s, dearest_s = float(plans.cost_s.min()), float(plans.cost_s.max())
        budget_s = cheapest_s + (dearest_s - cheapest_s) * rng.random() ** 3
        optimum = plans.least_error(budget_s)
        for name, solver in ALL_SOLVERS.items():
            if name == "nested" and seed // PARTS % 5:
                continue  # a budget of seconds alone is solved as by "lagrangian"; steps are below
            choice = solver.solve(menu, budget_s)
            link_s, coding_s, error = figures_of(menu, choice)
            where = f"{name}, seed {seed}"
            if name != "uniform":  # which may have no column that fits
                assert choice.cost_s <= budget_s, where
            assert float((link_s + coding_s).sum()) == pytest.approx(choice.cost_s, rel=1e-9), where
            assert error == pytest.approx(choice.error, rel=1e-9, abs=1e-12 * menu.total), where
            assert choice.bound <= optimum + 1e-9 * menu.total, where
            assert choice.error >= choice.bound - 1e-9 * menu.total, where
            if name in BY_PRICE:
                assert choice.error <= optimum + largest_move(menu) * TIGHT, where
            elif choice.cost_s <= budget_s:
                assert choice.error >= optimum - 1e-9 * menu.total, where
            if name == "knapsack":
                lost_s = bins_lost(budget_s, cheapest_s, len(menu.error), len(menu.starts))
                assert choice.error <= plans.least_error(budget_s - lost_s) + 1e-9 * menu.total, where
            gaps[name].append((choice.error - optimum) / max(menu.total, 1e-300))
    means = {name: float(np.mean(np.maximum(found, 0.0))) for name, found in gaps.items()}
    assert means["lagrangian"] < 0.002, means
    assert means["knapsack"] < 0.0002, means
    assert means["uniform"] > 10 * means["lagrangian"], means


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_budgets_of_nothing_and_of_more_than_everything(solver: str) -> None:
    for seed in range(100):
        menu = random_menu(seed)
        plans = Plans.of(menu)
        if solver != "uniform":
            for budget_s in (0.0, -1.0):
                assert ALL_SOLVERS[solver].solve(menu, budget_s).cost_s <= plans.cost_s.min() * TIGHT
        choice = ALL_SOLVERS[solver].solve(menu, 10 * float(plans.cost_s.max()))
        assert choice.error <= plans.error.min() + 1e-9 * menu.total


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_more_budget_means_no_more_error(solver: str) -> None:
    """Of budgets that are further apart than the knapsack's stated gap."""
    for seed in range(100):
        menu = random_menu(seed)
        plans = Plans.of(menu)
        low_s, high_s = float(plans.cost_s.min()), float(plans.cost_s.max())
        budgets_s = low_s + (high_s - low_s) * np.geomspace(1e-3, 1, 12)
        choices = [ALL_SOLVERS[solver].solve(menu, budget_s) for budget_s in budgets_s.tolist()]
        errors = [c.error for c, b in zip(choices, budgets_s, strict=True) if c.cost_s <= b]
        assert (np.diff(errors) <= 1e-9 * menu.total).all(), f"seed {seed}: {errors}"


@pytest.mark.parametrize("part", range(PARTS))
def test_a_step_against_every_plan(part: int) -> None:
    """With buckets that become ready one after the other: the step is kept, and the bound is one."""
    gaps = []
    for seed in range(part, INSTANCES // 2, PARTS):
        menu, rng = random_menu(seed), np.random.default_rng([seed, 2])
        plans = Plans.of(menu)
        cheapest_s = float(plans.step_s[plans.cost_s.argmin()])
        step_s = cheapest_s + (float(plans.step_s.max()) - cheapest_s) * rng.random() ** 3
        choice = Nested().within(menu, step_s)
        link_s, coding_s, error = figures_of(menu, choice)
        ready_s = np.zeros(len(link_s)) if menu.ready_s is None else menu.ready_s
        optimum, where = plans.least_error_of_step(step_s), f"seed {seed}"
        assert finish_s(ready_s, link_s[None], coding_s[None])[0] <= step_s * TIGHT, where
        assert error == pytest.approx(choice.error, rel=1e-9, abs=1e-12 * menu.total), where
        assert choice.bound <= optimum + 1e-9 * menu.total, where
        assert choice.error >= choice.bound - 1e-9 * menu.total, where
        gaps.append((choice.error - optimum) / max(menu.total, 1e-300))
    assert np.mean(np.maximum(gaps, 0.0)) < 0.005


def test_against_an_integer_program_of_more_layers() -> None:
    of_budgets: dict[str, list[float]] = {"lagrangian": [], "knapsack": []}
    of_steps = []
    for seed in range(12):
        menu, rng = random_menu(seed, layers=14), np.random.default_rng([seed, 3])
        cheapest = ALL_SOLVERS["knapsack"].solve(menu, 0.0)
        budget_s = cheapest.cost_s * (1.2 + 3 * rng.random())
        optimum = integer_optimum(menu, budget_s, seconds=4)
        for name, gaps in of_budgets.items():
            choice = ALL_SOLVERS[name].solve(menu, budget_s)
            assert choice.cost_s <= budget_s
            assert choice.bound <= optimum + 1e-6 * menu.total
            gaps.append((choice.error - optimum) / menu.total)
        link_s, coding_s, _ = figures_of(menu, cheapest)
        ready_s = np.zeros(len(link_s)) if menu.ready_s is None else menu.ready_s
        step_s = float(finish_s(ready_s, link_s[None], coding_s[None])[0]) * (1.2 + 3 * rng.random())
        optimum = integer_optimum(menu, step_s, seconds=4, of_step=True)
        choice = Nested().within(menu, step_s)
        assert choice.bound <= optimum + 1e-6 * menu.total
        of_steps.append((choice.error - optimum) / menu.total)
    for gaps in (*of_budgets.values(), of_steps):
        assert max(gaps) < 0.05
        assert np.mean(np.maximum(gaps, 0.0)) < 0.01

"""Solvers where there is nothing to decide, too much of it, or nonsense to decide on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kimad.config import SOLVERS, Config
from kimad.cost import CodingCost
from kimad.curves import DENSITIES, Curve
from kimad.menu import Menu
from kimad.solver import ALL_SOLVERS, Choice, Knapsack, Lagrangian, Nested
from kimad.solver.timing import least_error, steps_s
from tests.unit.cases import BPS, Model, heavy_model
from tests.unit.test_solver import assert_bounded

EXACT = ("nested", "lagrangian", "knapsack")
TIGHT = 1 + 1e-9
NONSENSE = {
    "nan": np.full(len(DENSITIES), np.nan),
    "nan at one density": np.where(np.arange(len(DENSITIES)) == 9, np.nan, np.linspace(0.1, 1, len(DENSITIES))),
    "inf": np.full(len(DENSITIES), np.inf),
    "zero": np.zeros(len(DENSITIES)),
}


def test_every_solver_has_a_name_in_the_configuration() -> None:
    assert tuple(ALL_SOLVERS) == SOLVERS
    for name in SOLVERS:
        assert Config(solver=name).solver == name


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("what", NONSENSE)
def test_a_curve_of_nonsense_drops_its_layer_and_no_other(what: str, solver: str) -> None:
    model = heavy_model(20, seed=3)
    curves = [Curve(c.numel, NONSENSE[what]) if i == 7 else c for i, c in enumerate(model.curves)]
    menu = model.maker.make(BPS, CodingCost(), curves, [False] * len(curves))
    assert np.isfinite(menu.total)
    for share in (0.01, 0.1, 1.0):
        choice = ALL_SOLVERS[solver].solve(menu, share * model.dense_s())
        assert np.isfinite([choice.cost_s, choice.error]).all()
        assert choice.cost_s <= share * model.dense_s()
        if solver != "uniform" and choice.whole[7 // 8] < 0:
            assert model.options(choice)[7].operator == "drop"
    assert len(ALL_SOLVERS[solver].frontier(menu)) >= 2


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("what", NONSENSE)
def test_nothing_but_nonsense_sends_nothing(what: str, solver: str) -> None:
    model = heavy_model(20, seed=3)
    curves = [Curve(c.numel, NONSENSE["zero" if what == "nan at one density" else what]) for c in model.curves]
    menu = model.maker.make(BPS, CodingCost(), curves, [False] * len(curves))
    choice = ALL_SOLVERS[solver].solve(menu, 0.1 * model.dense_s())
    assert choice.error == 0
    assert {option.operator for option in model.options(choice)} == {"drop"}


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 2.0])
def test_one_layer(share: float, solver: str) -> None:
    model = heavy_model(1, seed=4)
    menu = model.menu()
    choice = ALL_SOLVERS[solver].solve(menu, share * model.dense_s())
    assert choice.cost_s <= max(share * model.dense_s(), float(menu.cost_s.min()) * TIGHT)
    errors = [c.error for c in ALL_SOLVERS[solver].frontier(menu)]
    assert min(errors) == 0
    assert max(errors) == pytest.approx(menu.total)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_two_thousand_layers_with_every_solver(solver: str) -> None:
    model = heavy_model(2000, distinct=40)
    menu = model.menu()
    budget_s = 0.05 * model.dense_s()
    choice = ALL_SOLVERS[solver].solve(menu, budget_s)
    assert choice.cost_s <= budget_s
    if solver in EXACT:
        allowed = 1.005 if solver != "knapsack" else 1.3  # of 8192 bins there are four for each layer
        assert choice.bound <= choice.error <= choice.bound * allowed


def every_k(layers: int, numel: int, seed: int = 0) -> tuple[Menu, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Top-k alone, with every k, at 8 bytes a kept value and nothing else; and the energy of every entry."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, (layers, numel)) * np.exp(rng.uniform(-3, 0, (layers, 1)))
    energy = np.sort(values**2, axis=1)[:, ::-1]
    k = np.repeat(np.arange(numel + 1)[None], layers, axis=0)
    kept = np.concatenate([np.zeros((layers, 1)), np.cumsum(energy, axis=1)], axis=1)
    menu = Menu(
        link_s=8.0 * k.astype(np.float64),
        coding_s=np.zeros(k.shape),
        error=np.maximum(kept[:, -1:] - kept, 0.0),
        k=k,
        starts=np.array([0]),
        whole_link_s=np.full((1, 1), 1e12),
        whole_coding_s=np.zeros((1, 1)),
        whole_error=np.full((1, 1), np.inf),
        total=float(energy.sum()),
        next_column=np.array([*range(1, numel + 1), -1]),
        dense=np.zeros(numel + 1, bool),
        seconds=lambda layer, column, kept: (8.0 * kept, 0.0),
    )
    return menu, energy


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("entries", [1, 10, 100, 500, 1000])
def test_of_top_k_alone_it_is_global_top_k(entries: int, solver: str) -> None:
    menu, energy = every_k(layers=20, numel=60)
    choice = ALL_SOLVERS[solver].solve(menu, 8.0 * entries)
    largest = np.sort(energy.ravel())[::-1]
    assert choice.error == pytest.approx(float(largest[entries:].sum()), rel=1e-6)
    assert int(choice.k.sum()) == entries


def overlapped(count: int = 24, share: float = 0.3, seed: int = 5) -> tuple[Model, Menu]:
    """Layers in buckets that become ready evenly over a part of the seconds that the dense gradient takes."""
    model = heavy_model(count, seed=seed)
    buckets = len(model.buckets)
    ready_s = share * model.dense_s() * np.arange(1, buckets + 1) / buckets
    return model, replace(model.menu(), ready_s=ready_s)


def at_one_price(menu: Menu, step_s: float) -> Choice:
    """The best that one price for all buckets comes to, with spare time used."""
    solver = Lagrangian()
    frontier = solver.frontier(menu)
    i = least_error(menu, frontier, step_s)
    piece = [frontier[i], *solver.between(menu, frontier[i - 1], frontier[i + 1])]
    return solver.spend(menu, piece[least_error(menu, piece, step_s)], step_s)


@pytest.mark.parametrize("share", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("slack", [0.02, 0.1, 0.5])
def test_a_price_for_each_bucket_is_never_worse_in_the_same_step(share: float, slack: float) -> None:
    _, menu = overlapped(share=share)
    assert menu.ready_s is not None
    step_s = float(menu.ready_s[-1]) * (1 + slack) + 0.01
    nested = Nested().within(menu, step_s)
    alike = at_one_price(menu, step_s)
    assert float(steps_s(menu, [nested])[0]) <= step_s * TIGHT
    assert_bounded(menu, nested)
    assert nested.error <= alike.error * 1.002


def test_what_is_hidden_is_sent_at_a_lower_price() -> None:
    """Much time in front of the last bucket: the first ones are sent whole, the last one is not."""
    _, menu = overlapped(share=3.0)
    assert menu.ready_s is not None
    choice = Nested().within(menu, float(menu.ready_s[-1]) * 1.002)
    left = np.add.reduceat(menu.error[np.arange(len(menu.error)), choice.column], menu.starts)
    left = np.where(choice.whole >= 0, 0.0, left)
    owed = np.add.reduceat(menu.error[:, 0], menu.starts)
    assert left[0] < 1e-4 * owed[0]
    assert left[-1] > 0.05 * owed[-1]


@pytest.mark.parametrize("solver", ["nested", "lagrangian"])
def test_spare_time_is_used_and_not_exceeded(solver: str) -> None:
    for seed in range(6):
        _, menu = overlapped(seed=seed)
        for choice in ALL_SOLVERS[solver].frontier(menu)[8:40:4]:
            step_s = float(steps_s(menu, [choice])[0]) * 1.1
            more = ALL_SOLVERS[solver].spend(menu, choice, step_s)
            assert float(steps_s(menu, [more])[0]) <= step_s * TIGHT
            assert more.error <= choice.error * TIGHT


@pytest.mark.parametrize("solver", ["knapsack", "uniform"])
def test_baselines_stay_as_they_are(solver: str) -> None:
    _, menu = overlapped()
    for choice in ALL_SOLVERS[solver].frontier(menu)[::6]:
        assert ALL_SOLVERS[solver].spend(menu, choice, 1e9) is choice


def test_the_knapsack_has_a_frontier_close_to_its_bounds() -> None:
    model = heavy_model(30, seed=3)
    menu = model.menu()
    frontier = Knapsack().frontier(menu)
    assert (np.diff([c.cost_s for c in frontier]) > 0).all()
    assert (np.diff([c.error for c in frontier]) < 0).all()
    assert frontier[-1].error == 0
    assert {o.operator for o in model.options(frontier[0])} == {"drop"}
    for choice in frontier:
        assert choice.bound <= choice.error
        assert choice.cost_s == pytest.approx(model.seconds(choice), rel=1e-9)
    middle = [c for c in frontier if 0.01 < c.error / menu.total < 0.9]
    assert len(middle) > 8
    assert np.median([c.error / c.bound for c in middle]) < 1.02
    cheap, dear = frontier[10], frontier[12]
    piece = Knapsack().between(menu, cheap, dear)
    assert len(piece) > 4
    assert cheap.cost_s <= piece[0].cost_s
    assert piece[-1].cost_s <= dear.cost_s

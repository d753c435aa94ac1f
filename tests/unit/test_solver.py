"""Solvers stay within the budget and, by their own dual bound, close to the best that there is."""

from __future__ import annotations

import numpy as np
import pytest

from kimad.compressors import compressor
from kimad.menu import Menu
from kimad.solver import ALL_SOLVERS, Choice, Lagrangian, Uniform, all_bucket_sums
from kimad.solver.pricing import Pricing, price_range
from kimad.solver.topup import followers
from tests.unit.cases import BPS, Model, heavy_model

BUDGETS = (0.001, 0.0025, 0.01, 0.05, 0.1, 0.25)  # of the dense gradient's seconds
GAP = 0.005  # of the dual bound
NOTHING = 0.001  # of the energy owed: where nearly all of it is sent, a whole layer's step is a large part of the rest
TIGHT = 1 + 1e-9


def assert_bounded(menu: Menu, choice: Choice) -> None:
    """No error is below the bound, but for what frames between two densities save, at the bound's own price.

    They grow in whole bytes and blocks, so that one may lie below the line between its neighbours in the menu.
    """
    saved_s = 0.0
    follower = followers(menu, choice.column)
    for i, (here, there) in enumerate(zip(choice.column.tolist(), follower.tolist(), strict=True)):
        low, k, high = int(menu.k[i, here]), int(choice.k[i]), int(menu.k[i, there])
        if there >= 0 and low < k < high:
            ends_s = menu.cost_s[i, [here, there]]
            line_s = float(np.interp(k, [low, high], ends_s))
            saved_s += max(0.0, line_s - sum(menu.seconds(i, here, k)))
    assert choice.bound <= choice.error * TIGHT + choice.price * saved_s


def assert_close_to_the_bound(menu: Menu, choice: Choice) -> None:
    assert_bounded(menu, choice)
    assert choice.error - choice.bound <= max(GAP * choice.bound, NOTHING * menu.total)


def menu_error(model: Model, choice: Choice) -> float:
    """Squared error of a choice, from its options and the curves."""
    error = 0.0
    for option, curve in zip(model.options(choice), model.curves, strict=True):
        error += float(compressor(option.operator).errors(np.array([option.k]), option.values, curve)[0])
    return error


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bps", [1e6, BPS, 300e6])
def test_never_over_budget_and_close_to_the_bound(bps: float, seed: int, world_size: int) -> None:
    model = heavy_model(62, seed, world_size=world_size)
    menu = model.menu(bps)
    cheapest_s = Lagrangian().frontier(menu)[0].cost_s
    solved = 0
    for share in BUDGETS:
        budget_s = share * model.dense_s(bps)
        choice = Lagrangian().solve(menu, budget_s)
        if budget_s < cheapest_s:
            assert choice.cost_s == cheapest_s
            continue
        assert model.seconds(choice, bps) <= budget_s * TIGHT
        assert choice.cost_s == pytest.approx(model.seconds(choice, bps), rel=1e-6)
        assert choice.error == pytest.approx(menu_error(model, choice), rel=1e-6)
        if budget_s > 2.5 * cheapest_s:  # below, one or two layers can be sent at all
            solved += 1
            assert_close_to_the_bound(menu, choice)
    assert solved >= 3


def test_the_budget_is_used_up() -> None:
    model = heavy_model(62)
    for share in BUDGETS[1:]:
        budget_s = share * model.dense_s()
        assert model.seconds(Lagrangian().solve(model.menu(), budget_s)) > 0.995 * budget_s


def test_two_thousand_layers() -> None:
    model = heavy_model(2000, distinct=40)
    menu = model.menu()
    for share in (0.01, 0.1):
        budget_s = share * model.dense_s()
        choice = Lagrangian().solve(menu, budget_s)
        assert model.seconds(choice) <= budget_s * TIGHT
        assert_bounded(menu, choice)
        assert choice.error <= choice.bound * (1 + GAP)


@pytest.mark.parametrize("bps", [1e6, BPS, 10e9])
def test_frontier_is_monotone(bps: float) -> None:
    model = heavy_model(62)
    menu = model.menu(bps)
    frontier = Lagrangian().frontier(menu)
    cost = np.array([c.cost_s for c in frontier])
    error = np.array([c.error for c in frontier])
    assert (np.diff(cost) >= -1e-12).all()
    assert (np.diff(error) <= 1e-9 * menu.total).all()
    assert error[-1] == 0
    for choice in frontier:
        assert choice.cost_s == pytest.approx(model.seconds(choice, bps))
        (link_s,), (coding_s,) = all_bucket_sums(menu, [choice])
        assert float((link_s + coding_s).sum()) == pytest.approx(choice.cost_s)


def test_a_piece_of_the_frontier_is_finer() -> None:
    menu = heavy_model(62).menu()
    frontier = Lagrangian().frontier(menu)
    middle = len(frontier) // 2
    cheap, dear = frontier[middle - 1], frontier[middle + 1]
    piece = Lagrangian().between(menu, cheap, dear)
    assert (piece[0].cost_s, piece[-1].cost_s) == pytest.approx((cheap.cost_s, dear.cost_s))
    assert len({c.cost_s for c in piece}) > 3
    assert (np.diff([c.cost_s for c in piece]) >= 0).all()


def test_no_choice_of_the_frontier_is_beaten_within_its_cost() -> None:
    """Every price's choice is the best of its cost: solving with that cost as the budget finds the same error."""
    menu = heavy_model(20, seed=3).menu()
    for choice in Lagrangian().frontier(menu)[::5]:
        assert Lagrangian().solve(menu, choice.cost_s).error == pytest.approx(choice.error, rel=1e-9)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_the_cheapest_choice_drops_everything(solver: str) -> None:
    model = heavy_model(20, seed=3)
    for budget_s in (0.0, -1.0, 1e-9):
        choice = ALL_SOLVERS[solver].solve(model.menu(), budget_s)
        assert {o.operator for o in model.options(choice)} == {"drop"}
        assert choice.error == pytest.approx(model.menu().total)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("bps", [BPS, 1e12])
def test_with_all_the_time_in_the_world_nothing_is_compressed(solver: str, bps: float) -> None:
    model = heavy_model(20, seed=3)
    choice = ALL_SOLVERS[solver].solve(model.menu(bps), 1e6)
    assert {o.operator for o in model.options(choice)} == {"float32"}
    assert choice.error == 0
    a_bin = 2e-3  # what the knapsack cannot tell apart
    assert choice.cost_s == pytest.approx(model.dense_s(bps), rel=a_bin if solver == "knapsack" else 1e-4)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3])
def test_layers_that_must_be_sent_are(solver: str, share: float) -> None:
    model = heavy_model(62)
    must_send = frozenset(range(0, 62, 3))
    choice = ALL_SOLVERS[solver].solve(model.menu(must_send=must_send), share * model.dense_s())
    options = model.options(choice)
    assert [i for i in must_send if options[i].operator == "drop"] == []
    if share == 0 and solver != "uniform":
        assert {options[i].operator for i in range(62) if i not in must_send} == {"drop"}


def test_small_layers_go_whole_or_not_at_all() -> None:
    model = heavy_model(62)
    small = [i for i, layer in enumerate(model.layers) if layer.numel < 1024]
    assert small
    for choice in Lagrangian().frontier(model.menu()):
        options = model.options(choice)
        assert "topk" not in {options[i].operator for i in small}


def test_layers_of_no_energy_are_dropped() -> None:
    model = heavy_model(20, seed=3)
    menu = model.menu()
    silent = 4
    menu.error[silent, np.isfinite(menu.error[silent])] = 0
    menu.whole_error[:] = np.inf
    choice = Lagrangian().solve(menu, 0.05 * model.dense_s())
    assert model.options(choice)[silent].operator == "drop"
    assert np.isfinite(choice.error)


@pytest.mark.parametrize("share", BUDGETS)
def test_uniform_density(share: float) -> None:
    model = heavy_model(62)
    menu = model.menu()
    budget_s = share * model.dense_s()
    uniform, solved = Uniform().solve(menu, budget_s), Lagrangian().solve(menu, budget_s)
    if uniform.cost_s > budget_s:
        assert uniform.cost_s == min(c.cost_s for c in Uniform().frontier(menu))
        return
    assert model.seconds(uniform) <= budget_s * TIGHT
    assert uniform.error == pytest.approx(menu_error(model, uniform))
    assert uniform.error >= solved.bound
    large = [i for i, layer in enumerate(model.layers) if layer.numel >= 1024]
    assert len({uniform.column[i] for i in large}) == 1


def test_choosing_by_layer_beats_one_density_for_all() -> None:
    model = heavy_model(62)
    menu = model.menu()
    budget_s = 0.05 * model.dense_s()
    assert Lagrangian().solve(menu, budget_s).error < 0.8 * Uniform().solve(menu, budget_s).error


def test_uniform_frontier_goes_from_cheap_to_dear() -> None:
    frontier = Uniform().frontier(heavy_model(20, seed=3).menu())
    cost = [c.cost_s for c in frontier]
    assert cost == sorted(cost)
    assert min(c.error for c in frontier) == 0
    assert all(np.isfinite(c.error) for c in frontier)


def test_a_sweep_is_one_price_after_the_other() -> None:
    menu = heavy_model(30, seed=2).menu(50e6)
    pricing = Pricing(menu)
    prices = np.geomspace(*price_range(menu)[::-1], 48)
    for together, alone in zip(pricing.sweep(prices), map(pricing.at, prices.tolist()), strict=True):
        for name in ("column", "whole", "k"):
            assert np.array_equal(getattr(together, name), getattr(alone, name)), name
        assert (together.cost_s, together.error, together.price) == pytest.approx(
            (alone.cost_s, alone.error, alone.price), rel=1e-12
        )

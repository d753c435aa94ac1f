"""Lagrangian relaxation: for a price of time, every layer chooses for itself.

    choice_l(price) = argmin_j error[l, j] + price * cost[l, j]

Sweeping the price traces the lower convex hull of the frontier; what a budget leaves over is spent by raising
k between the menu's densities. The dual value bounds every choice of the menu from below:

    error* >= sum_l min_j (error + price * cost) - price * budget      (Everett 1963; Fisher 1981)
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice, Solver
from kimad.solver.moves import in_frames, moved_down
from kimad.solver.topup import CLOSE, top_up

Floats = NDArray[np.float64]

COARSE, FINE = 48, 24  # prices of a whole frontier, and of a piece of it
ROUNDS, TOLERANCE = 60, 1e-6  # of bisection


@final
class Lagrangian(Solver):
    """Separable choice by price; the default."""

    def frontier(self, menu: Menu) -> list[Choice]:
        low, high = price_range(menu)
        pricing = _Pricing(menu)
        return pricing.sweep(np.geomspace(high, low, COARSE))

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        if not cheap.price > dear.price > 0:
            return [cheap, dear]
        pricing = _Pricing(menu)
        return pricing.sweep(np.geomspace(cheap.price, dear.price, FINE))

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        low, high = price_range(menu)
        pricing = _Pricing(menu)
        over = pricing.at(low)
        if over.cost_s <= budget_s:
            return over
        best = pricing.at(high)
        if best.cost_s > budget_s:
            return best
        for _ in range(ROUNDS):
            if high / low < 1 + TOLERANCE:
                break
            middle = (low * high) ** 0.5
            choice = pricing.at(middle)
            if choice.cost_s <= budget_s:
                high, best = middle, choice
            else:
                low, over = middle, choice
        bound = best.error + high * (best.cost_s - budget_s)
        result = top_up(menu, best, budget_s, bound)
        if result.error <= bound * CLOSE:
            return result
        starts = []
        for whole in (over.whole, best.whole):
            down = moved_down(menu, in_frames(menu, over, whole), budget_s)
            starts += [down] if down is not None else []
        others = [top_up(menu, start, budget_s, bound) for start in starts]
        return min([result, *others], key=lambda c: c.error)


def price_range(menu: Menu) -> tuple[float, float]:
    """A price at which error alone counts, and one at which cost alone counts."""
    cost_s = menu.cost_s
    above = cost_s - cost_s.min(axis=1, keepdims=True)
    smallest = float(above[above > 1e-12].min(initial=1.0))
    high = max(float(menu.error[np.isfinite(menu.error)].max(initial=0.0)), 1e-300) / smallest
    return high * 1e-18, high


@final
class _Pricing:
    """Chooses at many prices of one menu without allocating for each."""

    def __init__(self, menu: Menu) -> None:
        self._menu = menu
        self._cost_s = menu.cost_s
        self._whole_cost_s = menu.whole_link_s + menu.whole_coding_s
        self._score = np.empty_like(self._cost_s)
        self._rows = np.arange(len(self._cost_s))
        self._buckets = np.arange(len(menu.starts))

    def at(self, price: float) -> Choice:
        menu, rows, buckets = self._menu, self._rows, self._buckets
        np.multiply(self._cost_s, price, out=self._score)
        np.add(self._score, menu.error, out=self._score)
        column = self._score.argmin(axis=1)
        by_layer = np.add.reduceat(self._score[rows, column], menu.starts)
        whole_score = menu.whole_error + price * self._whole_cost_s
        way = whole_score.argmin(axis=1)
        travels = whole_score[buckets, way] <= by_layer
        layer_cost = np.add.reduceat(self._cost_s[rows, column], menu.starts)
        layer_error = np.add.reduceat(menu.error[rows, column], menu.starts)
        cost_s = float(np.where(travels, self._whole_cost_s[buckets, way], layer_cost).sum())
        error = float(np.where(travels, menu.whole_error[buckets, way], layer_error).sum())
        return Choice(column, np.where(travels, way, -1), menu.k[rows, column], cost_s, error, price, error)

    def sweep(self, prices: Floats) -> list[Choice]:
        """`at` of several prices, together."""
        menu, rows, buckets = self._menu, self._rows, self._buckets
        score = prices[:, None, None] * self._cost_s
        score += menu.error
        column = score.argmin(axis=2)
        which = np.arange(len(prices))[:, None]
        by_layer = np.add.reduceat(score[which, rows, column], menu.starts, axis=1)
        whole_score = menu.whole_error + prices[:, None, None] * self._whole_cost_s
        way = whole_score.argmin(axis=2)
        travels = whole_score[which, buckets, way] <= by_layer
        layer_cost = np.add.reduceat(self._cost_s[rows, column], menu.starts, axis=1)
        layer_error = np.add.reduceat(menu.error[rows, column], menu.starts, axis=1)
        cost_s = np.where(travels, self._whole_cost_s[buckets, way], layer_cost).sum(axis=1).tolist()
        error = np.where(travels, menu.whole_error[buckets, way], layer_error).sum(axis=1).tolist()
        whole, k = np.where(travels, way, -1), menu.k[rows, column]
        return [
            Choice(column[i], whole[i], k[i], cost_s[i], error[i], price, error[i])
            for i, price in enumerate(prices.tolist())
        ]

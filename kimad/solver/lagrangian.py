"""Lagrangian relaxation: for a price of time, every layer chooses for itself.

    choice_l(price) = argmin_j error[l, j] + price * cost[l, j]

Sweeping the price traces the lower convex hull of the frontier; what a budget leaves over is spent by raising
k between the menu's densities. The dual value bounds every choice of the menu from below:

    error* >= sum_l min_j (error + price * cost) - price * budget      (Everett 1963; Fisher 1981)
"""

from __future__ import annotations

from typing import final

import numpy as np

from kimad.menu import Menu
from kimad.solver.interface import Choice, Solver
from kimad.solver.moves import in_frames, moved_down
from kimad.solver.pricing import COARSE, FINE, Pricing, bracket, price_range
from kimad.solver.timing import steps_s
from kimad.solver.topup import CLOSE, top_up


@final
class Lagrangian(Solver):
    """Separable choice by price; the default."""

    def frontier(self, menu: Menu) -> list[Choice]:
        low, high = price_range(menu)
        return Pricing(menu).sweep(np.geomspace(high, low, COARSE))

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        if not cheap.price > dear.price > 0:
            return [cheap, dear]
        return Pricing(menu).sweep(np.geomspace(cheap.price, dear.price, FINE))

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        over, best, bound = bracket(menu, budget_s)
        if over is best:
            return best
        result = top_up(menu, best, budget_s, bound)
        if result.error <= bound * CLOSE:
            return result
        starts = []
        for whole in (over.whole, best.whole):
            down = moved_down(menu, in_frames(menu, over, whole), budget_s)
            starts += [down] if down is not None else []
        others = [top_up(menu, start, budget_s, bound) for start in starts]
        return min([result, *others], key=lambda c: c.error)

    def spend(self, menu: Menu, choice: Choice, step_s: float) -> Choice:
        """A step grows by at most what its buckets grow, as long as none of them takes less coding."""
        slack_s = step_s - float(steps_s(menu, [choice])[0])
        more = top_up(menu, choice, choice.cost_s + slack_s, choice.error - choice.price * slack_s)
        return more if steps_s(menu, [more])[0] <= step_s * (1 + 1e-9) else choice

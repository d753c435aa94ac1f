"""Nested budgets: a price for each bucket, because what is sent before backward ends costs no time.

Bucket b is ready at R_b; l and c are seconds on the link and of coding, e the encoder's share. The predicted step is

    step = max_b  R_b + sum_{j<=b} c_j + (1 - e) sum_{j>b} c_j + sum_{j>=b} l_j

so a step within t is a constraint for each suffix b..B of the buckets. With multipliers mu_b >= 0 of these constraints

    p_j = sum_{b<=j} mu_b       price of a second on the link: it rises from bucket to bucket, to the price of time p
    q_j = p - e p_{j-1}         price of a second of coding, which never hides
    error* >= sum_l min_i (error + p l + q c) + sum_b mu_b (R_b - t)                               the dual bound

For a price of time p the best prices are p_j = min(p, a_j), with a_j from `windows`: nested resource allocation,
as in Vidal, Gribel, Jaillet, arXiv:1703.01484.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.fill import fill
from kimad.solver.interface import Choice, Solver
from kimad.solver.lagrangian import Lagrangian
from kimad.solver.pricing import COARSE, FINE, Pricing, bracket, price_range
from kimad.solver.timing import least_error, ready_s, steps_s
from kimad.solver.windows import cap_prices
from kimad.timeline import ENCODE_SHARE, finish_s

Floats = NDArray[np.float64]

APART, NEAR = 4.0, 6  # factor between the prices of time at which the a_j are found; and prices around each of them
CAPS, LOWEST = 14, 1e-5  # prices among which an a_j is found, down to this part of the price of time
THIN = 3  # of so many densities one is enough to find it


@final
class Nested(Solver):
    """One price of time, and for each bucket the price at which it uses its own time up."""

    def frontier(self, menu: Menu) -> list[Choice]:
        """One price for all buckets, as if nothing were hidden; `between` tells them apart."""
        low, high = price_range(menu)
        return Pricing(menu).sweep(np.geomspace(high, low, COARSE), bounded=False)

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        """Choices at one price for all buckets, and at prices of their own.

        These reach beyond both ends: where much is hidden, time may be worth more or less than at one price for all.
        """
        if not cheap.price > dear.price > 0:
            return [cheap, dear]
        pricing = Pricing(menu)
        alike = pricing.sweep(np.geomspace(cheap.price, dear.price, FINE), bounded=False)
        ends = cheap.price / dear.price
        count = 1 + int(np.ceil(np.log(ends**3) / np.log(APART)))
        return [*alike, *priced(menu, np.geomspace(cheap.price * ends, dear.price / ends, count), pricing)]

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        """Of seconds alone, hidden or not: one price is best."""
        return Lagrangian().solve(menu, budget_s)

    def spend(self, menu: Menu, choice: Choice, step_s: float) -> Choice:
        bound = choice.bound - choice.price * (step_s - float(steps_s(menu, [choice])[0]))
        return fill(menu, replace(choice, bound=bound), step_s)

    def within(self, menu: Menu, step_s: float) -> Choice:
        """A choice whose predicted step takes at most `step_s`, with an error as small as can be found.

        The quickest one that was looked at if none does. Its bound is that of every choice whose step is as short.
        """
        frontier = self.frontier(menu)
        i = least_error(menu, frontier, step_s)
        around = self.between(menu, frontier[max(0, i - 1)], frontier[min(len(frontier) - 1, i + 1)])
        among = [frontier[i], *around, replace(bracket(menu, -1.0)[1], bound=-np.inf)]
        taken_s = steps_s(menu, among).tolist()
        bound = max(c.bound - c.price * (step_s - s) for c, s in zip(among, taken_s, strict=True))
        return fill(menu, replace(among[least_error(menu, among, step_s)], bound=bound), step_s)


def priced(menu: Menu, anchors: Floats, pricing: Pricing) -> list[Choice]:
    """The best choices at prices of time around each of the falling `anchors`, with their dual bounds."""
    ready = ready_s(menu)
    ends = np.sqrt(anchors[:-1] / anchors[1:]).max(initial=1.0)
    prices = anchors[:, None] * np.geomspace(ends, 1 / ends, NEAR)
    caps = _caps(Pricing(_thin(menu)), anchors, ready)
    link_price = np.minimum(prices[:, :, None], caps[:, None, :])
    return _choices(pricing, prices.ravel(), link_price.reshape(-1, len(ready)), ready)


def _thin(menu: Menu) -> Menu:
    """The menu with fewer densities."""
    sparse = np.flatnonzero((menu.k > 0).any(axis=0))
    columns = np.setdiff1d(np.arange(menu.k.shape[1]), np.setdiff1d(sparse, sparse[THIN // 2 :: THIN]))
    return replace(
        menu, link_s=menu.link_s[:, columns], coding_s=menu.coding_s[:, columns], error=menu.error[:, columns],
        k=menu.k[:, columns], next_column=menu.next_column[columns], dense=menu.dense[columns],
    )  # fmt: skip


def _caps(pricing: Pricing, anchors: Floats, ready: Floats) -> Floats:
    """(A, B) the a_j at each price of time."""
    buckets = len(ready)
    if buckets == 1:
        return np.full((len(anchors), 1), np.inf)
    prices = np.maximum(anchors[:, None] * np.geomspace(1.0, LOWEST, CAPS), np.finfo(np.float64).tiny)
    link_price = np.repeat(prices.reshape(-1, 1), buckets, axis=1)
    chosen = pricing.by_bucket(link_price, _coding_price(np.repeat(anchors, CAPS), link_price))
    shape = (len(anchors), CAPS, buckets)
    return cap_prices(prices, chosen.link_s.reshape(shape), chosen.coding_s.reshape(shape), ready)


def _coding_price(prices: Floats, link_price: Floats) -> Floats:
    """(P, B) q_j = p - e p_{j-1}."""
    coding_price = np.repeat(prices[:, None], link_price.shape[1], axis=1)
    coding_price[:, 1:] -= ENCODE_SHARE * link_price[:, :-1]
    return coding_price


def _choices(pricing: Pricing, prices: Floats, link_price: Floats, ready: Floats) -> list[Choice]:
    """The best choices at P prices of time and P x B of the link, each with its dual bound for a step like its own."""
    coding_price = _coding_price(prices, link_price)
    chosen = pricing.by_bucket(link_price, coding_price)
    error = chosen.error.sum(axis=1)
    multipliers = np.diff(link_price, axis=1, prepend=0.0)
    value = error + (link_price * chosen.link_s + coding_price * chosen.coding_s).sum(axis=1) + multipliers @ ready
    bound = np.minimum(error, value - prices * finish_s(ready, chosen.link_s, chosen.coding_s))
    cost_s = (chosen.link_s + chosen.coding_s).sum(axis=1)
    figures = zip(cost_s.tolist(), error.tolist(), prices.tolist(), bound.tolist(), strict=True)
    return [Choice(chosen.column[i], chosen.whole[i], chosen.k[i], *each) for i, each in enumerate(figures)]

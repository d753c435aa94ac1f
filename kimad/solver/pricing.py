"""Choosing by price: at a price of time, every layer takes the column with the smallest error + price * seconds.

One price for all layers, or one for each bucket: what a second on the link is worth there, and a second of coding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COARSE, FINE = 48, 24  # prices of a whole frontier, and of a piece of it
CACHED_BYTES = 1 << 18  # of scores that are held at a time: they stay in the cache
ROUNDS, TOLERANCE = 60, 1e-6  # of bisection
STEEPER = 6  # millionfold steps above what should be the highest price: two sums of costs may differ by very little


def price_range(menu: Menu) -> tuple[float, float]:
    """A price at which error alone counts, and one at which cost alone counts."""
    cost_s = menu.cost_s
    above = cost_s - cost_s.min(axis=1, keepdims=True)
    smallest = float(above[above > 1e-12].min(initial=1.0))
    high = max(float(menu.error[np.isfinite(menu.error)].max(initial=0.0)), 1e-300) / smallest
    return high * 1e-18, high


@final
@dataclass(frozen=True)
class Chosen:
    """P choices over L layers in B buckets, as arrays."""

    column: Ints  # (P, L)
    whole: Ints  # (P, B) way of a bucket that travels whole, or -1
    k: Ints  # (P, L)
    link_s: Floats  # (P, B)
    coding_s: Floats  # (P, B)
    error: Floats  # (P, B)


@final
@dataclass(frozen=True)
class _Group:
    """Layers that have the same columns to choose from: small layers have few, and are looked at apart."""

    rows: Ints | slice
    columns: Ints
    link_s: Floats
    coding_s: Floats
    error: Floats


def _together(menu: Menu) -> _Group:
    return _Group(slice(None), np.arange(menu.error.shape[1]), menu.link_s, menu.coding_s, menu.error)


def _apart(menu: Menu) -> list[_Group]:
    allowed = np.isfinite(menu.error)
    every = np.arange(allowed.shape[1])
    few = allowed.sum(axis=1) <= len(every) // 4
    if not few.any():
        return [_together(menu)]
    theirs = allowed[few].any(axis=0)
    theirs[0] = True  # what is taken where nothing is allowed
    groups = []
    for members, columns in ((few, np.flatnonzero(theirs)), (~few, every)):
        rows = np.flatnonzero(members)
        where = np.ix_(rows, columns)
        tables = menu.link_s[where], menu.coding_s[where], menu.error[where]
        groups += [_Group(rows, columns, *tables)] if len(rows) else []
    return groups


@final
class Pricing:
    """Chooses at many prices of one menu without allocating for each."""

    def __init__(self, menu: Menu) -> None:
        self._menu = menu
        self._cost_s = menu.cost_s
        self._whole_cost_s = menu.whole_link_s + menu.whole_coding_s
        self._score = np.empty_like(self._cost_s)
        self._rows = np.arange(len(self._cost_s))
        self._buckets = np.arange(len(menu.starts))
        self._bucket_of = np.repeat(self._buckets, np.diff(np.append(menu.starts, len(self._cost_s))))

    def at(self, price: float) -> Choice:
        """The best choice at one price of time."""
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

    def sweep(self, prices: Floats, *, bounded: bool = True) -> list[Choice]:
        """`at` of several prices, together; without their bounds if seconds do not simply add up."""
        menu, rows, buckets = self._menu, self._rows, self._buckets
        some = prices[:, None, None]

        def score(group: _Group, here: slice, out: Floats, spare: Floats) -> None:
            np.multiply(some[here], self._cost_s, out=out)
            np.add(out, group.error, out=out)

        column = self._columns([_together(menu)], len(prices), score)
        each_cost, each_error = self._cost_s[rows, column], menu.error[rows, column]
        by_layer = np.add.reduceat(prices[:, None] * each_cost + each_error, menu.starts, axis=1)
        whole_score = menu.whole_error + prices[:, None, None] * self._whole_cost_s
        way = whole_score.argmin(axis=2)
        travels = np.take_along_axis(whole_score, way[:, :, None], axis=2)[:, :, 0] <= by_layer
        layer_cost = np.add.reduceat(each_cost, menu.starts, axis=1)
        layer_error = np.add.reduceat(each_error, menu.starts, axis=1)
        cost_s = np.where(travels, self._whole_cost_s[buckets, way], layer_cost).sum(axis=1).tolist()
        error = np.where(travels, menu.whole_error[buckets, way], layer_error).sum(axis=1).tolist()
        whole, k = np.where(travels, way, -1), menu.k[rows, column]
        bound = error if bounded else [-np.inf] * len(error)
        return [
            Choice(column[i], whole[i], k[i], cost_s[i], error[i], price, bound[i])
            for i, price in enumerate(prices.tolist())
        ]

    def by_bucket(self, link_price: Floats, coding_price: Floats) -> Chosen:
        """The best choices at P x B prices of a second on the link and of a second of coding."""
        menu, rows, buckets = self._menu, self._rows, self._buckets
        link, coding = (price[:, self._bucket_of, None] for price in (link_price, coding_price))

        def score(group: _Group, here: slice, out: Floats, spare: Floats) -> None:
            np.multiply(link[here, group.rows], group.link_s, out=out)
            np.multiply(coding[here, group.rows], group.coding_s, out=spare)
            np.add(out, spare, out=out)
            np.add(out, group.error, out=out)

        column = self._columns(_apart(menu), len(link_price), score)
        each = menu.link_s[rows, column], menu.coding_s[rows, column], menu.error[rows, column]
        by_layer = [np.add.reduceat(values, menu.starts, axis=1) for values in each]
        whole_score = menu.whole_error + link_price[:, :, None] * menu.whole_link_s
        whole_score += coding_price[:, :, None] * menu.whole_coding_s
        way = whole_score.argmin(axis=2)
        score_of_frames = by_layer[2] + link_price * by_layer[0] + coding_price * by_layer[1]
        travels = np.take_along_axis(whole_score, way[:, :, None], axis=2)[:, :, 0] <= score_of_frames
        wholes = menu.whole_link_s, menu.whole_coding_s, menu.whole_error
        sums = [np.where(travels, w[buckets, way], s) for w, s in zip(wholes, by_layer, strict=True)]
        return Chosen(column, np.where(travels, way, -1), menu.k[rows, column], *sums)

    def _columns(
        self, groups: Sequence[_Group], count: int, score: Callable[[_Group, slice, Floats, Floats], None]
    ) -> Ints:
        """(count, L) the column with the smallest score; `score` fills some rows of a group's scores at a time."""
        column = np.empty((count, len(self._rows)), np.int64)
        for group in groups:
            found = np.empty((count, len(group.error)), np.int64)
            some = min(count, max(1, CACHED_BYTES // group.error.nbytes))
            room = np.empty((2, some, *group.error.shape))
            for first in range(0, count, some):
                here = slice(first, first + some)
                out, spare = room[:, : len(found[here])]
                score(group, here, out, spare)
                out.argmin(axis=2, out=found[here])
            column[:, group.rows] = group.columns[found]
        return column


def bracket(menu: Menu, budget_s: float) -> tuple[Choice, Choice, float]:
    """The choices on both sides of a budget, dear and cheap, and the dual bound: no choice within it has less error.

    Twice the same choice where everything fits, or nothing does.
    """
    low, high = price_range(menu)
    pricing = Pricing(menu)
    over = pricing.at(low)
    if over.cost_s <= budget_s:
        return over, over, over.error
    best = pricing.at(high)
    for _ in range(STEEPER):
        if best.cost_s <= budget_s:
            break
        high *= 1e6
        best = pricing.at(high)
    if best.cost_s > budget_s:
        return best, best, best.error
    for _ in range(ROUNDS):
        if high / low < 1 + TOLERANCE:
            break
        middle = (low * high) ** 0.5
        choice = pricing.at(middle)
        if choice.cost_s <= budget_s:
            high, best = middle, choice
        else:
            low, over = middle, choice
    return over, best, best.error + high * (best.cost_s - budget_s)


def dual_bounds(menu: Menu, budgets_s: Floats) -> Floats:
    """(N,) the same bound for each of several budgets, from one sweep of prices: not as tight as `bracket` has it."""
    low, high = price_range(menu)
    prices = np.geomspace(high, low, 4 * COARSE)
    choices = Pricing(menu).sweep(prices)
    cost_s, error = np.array([c.cost_s for c in choices]), np.array([c.error for c in choices])
    bounds: Floats = (error + prices * cost_s - prices * budgets_s[:, None]).max(axis=1)
    return bounds

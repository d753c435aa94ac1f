"""Kimad+ (arXiv 2312.08053): each layer's option by dynamic programming over a budget that is cut into D bins.

    f_l[w] = min_j f_{l-1}[w - ceil(c_lj / delta)] + error_lj        c: seconds above the layer's cheapest option
    delta  = (budget - sum of the cheapest) / D

A bucket that travels whole takes the place of all its layers. Costs are rounded up, and what is taken is counted again
in seconds, so that no budget is exceeded. Each layer or bucket loses less than a bin, so with L layers in B buckets

    error <= least error within  budget - (L + B + 1) delta

which is the stated gap. It is smaller than that in practice: of the plans that cost up to L + B bins more by the
rounded count, those within the budget by the true one are looked at too. Takes O(L K D) time and 8 L D bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice, Solver
from kimad.solver.pricing import bracket, dual_bounds
from kimad.solver.stages import Stage, bucket_stages

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS, BINS_A_LAYER, MOST_BINS = 1000, 16, 8192  # D, which grows with the layers: each loses up to a bin
LOOKED_AT = 64  # plans beyond the budget by the rounded count
OCTAVES, POINTS = 9, 6  # a frontier: budgets that are 4 times as large as the next, and points within each
PIECE = 24  # points of a piece of a frontier
EDGE = 1e-9  # of a bin: what rounding errors may add to a cost


@final
class Knapsack(Solver):
    """Kimad+ as a reference: exact up to its bins, and far slower than choosing by price."""

    def frontier(self, menu: Menu) -> list[Choice]:
        stages = bucket_stages(menu)
        base_s, top_s = sum(s.base_s for s in stages), sum(s.dearest_s for s in stages)
        found: list[Choice] = []
        for octave in range(OCTAVES):
            table = _Table(menu, stages, (top_s - base_s) / 4.0**octave)
            points = np.geomspace(0.25, 1.0, POINTS + 1) * table.bins
            found += table.choices(np.append(points.astype(np.int64), [0, table.bins + table.beyond]))
        return _falling(menu, found)

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        if not cheap.cost_s < dear.cost_s:
            return [cheap, dear]
        stages = bucket_stages(menu)
        base_s = sum(s.base_s for s in stages)
        table = _Table(menu, stages, dear.cost_s - base_s)
        low = table.bins * (cheap.cost_s - base_s) / max(dear.cost_s - base_s, 1e-300)
        points = np.unique(np.linspace(low, table.bins, PIECE).astype(np.int64))
        inside = [c for c in table.choices(points) if cheap.cost_s < c.cost_s < dear.cost_s]
        return _falling(menu, [cheap, *inside, dear])

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        stages = bucket_stages(menu)
        base_s, top_s = sum(s.base_s for s in stages), sum(s.dearest_s for s in stages)
        table = _Table(menu, stages, max(0.0, min(budget_s, top_s) - base_s))
        beyond = np.linspace(table.bins, table.bins + table.beyond, LOOKED_AT).astype(np.int64)
        choices = table.choices(np.unique(np.concatenate([[0, max(0, table.bins - 1)], beyond])))
        within = [c for c in choices if c.cost_s <= budget_s]
        best = min(within, key=lambda c: (c.error, c.cost_s)) if within else choices[0]
        return replace(best, bound=min(best.error, bracket(menu, max(budget_s, best.cost_s))[2]))

    def spend(self, menu: Menu, choice: Choice, step_s: float) -> Choice:
        return choice


@final
class _Table:
    """f for every layer, and way back from any number of bins."""

    def __init__(self, menu: Menu, stages: Sequence[Stage], extra_s: float) -> None:
        self._menu, self._stages = menu, stages
        layers = len(menu.error)
        self.bins = min(MOST_BINS, max(BINS, BINS_A_LAYER * layers)) if extra_s > 0 else 0
        self.beyond = min(layers + len(stages), self.bins)
        self._bin_s = extra_s / self.bins if self.bins else 1.0
        self._size = self.bins + self.beyond + 1
        best = np.zeros(self._size)
        self._before: list[list[Floats]] = []  # f in front of each layer of each bucket, and behind the last one
        for stage in stages:
            inside = [best]
            for layer in stage.layers:
                cost = self._bins_of(layer.more_s)
                inside.append(_extended(inside[-1], cost, layer.error))
            self._before.append(inside)
            framed = _extended(inside[-1], self._bins_of(np.array([stage.frames_s])), np.zeros(1))
            wholes = self._bins_of(stage.whole_s)
            best = np.minimum(framed, _extended(best, wholes, stage.whole_error)) if len(wholes) else framed

    def _bins_of(self, seconds: Floats) -> Ints:
        """Bins, rounded up; those that are out of reach are one too many."""
        bins = np.ceil(np.minimum(seconds / self._bin_s, float(self._size)) - EDGE)  # never above the size
        return np.maximum(bins, 0.0).astype(np.int64)

    def choices(self, points: Ints) -> list[Choice]:
        """The best choice within each of these numbers of bins."""
        menu, n = self._menu, len(points)
        column = np.empty((n, len(menu.error)), np.int64)
        whole = np.full((n, len(self._stages)), -1, np.int64)
        left = points.copy()
        for b in range(len(self._stages) - 1, -1, -1):
            stage, inside = self._stages[b], self._before[b]
            options = [(inside[-1], self._bins_of(np.array([stage.frames_s])), np.zeros(1))]
            options += [(inside[0], self._bins_of(stage.whole_s), stage.whole_error)]
            scores = np.concatenate([_scores(left, *option) for option in options])
            way = scores.argmin(axis=0)
            framed = way == 0
            bins = np.concatenate([option[1] for option in options])
            inner = np.where(framed, left - bins[0], 0)
            for i in range(len(stage.layers) - 1, -1, -1):
                layer = stage.layers[i]
                cost = self._bins_of(layer.more_s)
                taken = _scores(inner, inside[i], cost, layer.error).argmin(axis=0)
                column[:, stage.first + i] = layer.column[taken]
                inner = inner - cost[taken]
            whole[:, b] = np.where(framed, -1, np.append(0, stage.ways)[way])
            left = np.where(framed, inner, left - bins[way])
        return self._as_choices(column, whole)

    def _as_choices(self, column: Ints, whole: Ints) -> list[Choice]:
        menu = self._menu
        rows, each = np.arange(column.shape[1]), np.arange(whole.shape[1])
        cost_s = np.add.reduceat(menu.cost_s[rows, column], menu.starts, axis=1)
        error = np.add.reduceat(menu.error[rows, column], menu.starts, axis=1)
        whole_cost_s = (menu.whole_link_s + menu.whole_coding_s)[each, whole]
        cost_s = np.where(whole >= 0, whole_cost_s, cost_s).sum(axis=1)
        error = np.where(whole >= 0, menu.whole_error[each, whole], error).sum(axis=1)
        k, figures = menu.k[rows, column], zip(cost_s.tolist(), error.tolist(), strict=True)
        return [Choice(column[i], whole[i], k[i], *f, float("nan"), float("-inf")) for i, f in enumerate(figures)]


def _extended(best: Floats, bins: Ints, error: Floats) -> Floats:
    """min_j best[w - bins_j] + error_j for every w."""
    size = len(best)
    padded = np.concatenate([np.full(size + 1, np.inf), best])
    rows = np.lib.stride_tricks.sliding_window_view(padded, size)[size + 1 - bins]
    rows += error[:, None]
    least: Floats = rows.min(axis=0)
    return least


def _scores(left: Ints, best: Floats, bins: Ints, error: Floats) -> Floats:
    """(J, n) best[left - bins_j] + error_j; inf where it does not fit."""
    at = left[None, :] - bins[:, None]
    scores: Floats = np.where(at >= 0, best[np.maximum(at, 0)], np.inf) + error[:, None]
    return scores


def _falling(menu: Menu, choices: Sequence[Choice]) -> list[Choice]:
    """Those that no cheaper one beats, from cheap to dear, with their bounds."""
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda c: (c.cost_s, c.error)):
        if not kept or choice.error < kept[-1].error:
            kept.append(choice)
    bounds = dual_bounds(menu, np.array([choice.cost_s for choice in kept])).tolist()
    return [replace(c, bound=min(c.error, bound)) for c, bound in zip(kept, bounds, strict=True)]

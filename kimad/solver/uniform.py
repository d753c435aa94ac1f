"""Uniform density: all layers keep the same share of their entries (plain Kimad, arXiv 2312.08053)."""

from __future__ import annotations

from typing import final

import numpy as np

from kimad.menu import Menu
from kimad.solver.interface import Choice, Solver


@final
class Uniform(Solver):
    """The baseline: one column for all layers.

    Where a layer may not have it, it has the next denser one of the same family, or else its cheapest dense one; in
    place of being dropped, its cheapest one.
    """

    def frontier(self, menu: Menu) -> list[Choice]:
        choices = self._columns(menu)
        choices += [self._whole(menu, way) for way in range(menu.whole_error.shape[1])]
        finite = [c for c in choices if np.isfinite(c.error)]
        return sorted(finite, key=lambda c: (c.cost_s, c.error))

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        return [cheap, dear]

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        choices = self.frontier(menu)
        within = [c for c in choices if c.cost_s <= budget_s]
        return min(within, key=lambda c: c.error) if within else choices[0]

    def spend(self, menu: Menu, choice: Choice, step_s: float) -> Choice:
        return choice

    @staticmethod
    def _columns(menu: Menu) -> list[Choice]:
        """One choice a column."""
        cost_s, allowed = menu.cost_s, np.isfinite(menu.error)
        cheapest = np.where(allowed, cost_s, np.inf).argmin(axis=1)
        cheapest_dense = np.where(menu.dense[None, :] & allowed, cost_s, np.inf).argmin(axis=1)
        sends = menu.dense | (menu.k > 0).any(axis=0)
        chosen = np.empty(allowed.shape, np.int64)
        for j in reversed(range(allowed.shape[1])):
            denser = int(menu.next_column[j])
            instead = chosen[:, denser] if denser > j else cheapest_dense if sends[j] else cheapest
            chosen[:, j] = np.where(allowed[:, j], j, instead)
        costs = np.take_along_axis(cost_s, chosen, 1).sum(axis=0).tolist()
        errors = np.take_along_axis(menu.error, chosen, 1).sum(axis=0).tolist()
        kept = np.take_along_axis(menu.k, chosen, 1)
        whole = np.full(len(menu.starts), -1, np.int64)
        return [
            Choice(chosen[:, j], whole, kept[:, j], cost, error, float("nan"), float("-inf"))
            for j, (cost, error) in enumerate(zip(costs, errors, strict=True))
        ]

    @staticmethod
    def _whole(menu: Menu, way: int) -> Choice:
        rows = np.arange(len(menu.error))
        column = np.where(np.isfinite(menu.error), menu.error, np.inf).argmin(axis=1)
        whole = np.full(len(menu.starts), way, np.int64)
        cost_s = float((menu.whole_link_s[:, way] + menu.whole_coding_s[:, way]).sum())
        error = float(menu.whole_error[:, way].sum())
        return Choice(column, whole, menu.k[rows, column], cost_s, error, float("nan"), float("-inf"))

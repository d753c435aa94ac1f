"""Uniform density: all layers keep the same share of their entries (plain Kimad, arXiv 2312.08053)."""

from __future__ import annotations

from typing import final

import numpy as np

from kimad.menu import Menu
from kimad.solver.interface import Choice, Solver


@final
class Uniform(Solver):
    """The baseline: one column for all layers; where a layer does not have it, its smallest dense one."""

    def frontier(self, menu: Menu) -> list[Choice]:
        choices = [self._column(menu, j) for j in range(menu.error.shape[1])]
        choices += [self._whole(menu, way) for way in range(menu.whole_error.shape[1])]
        finite = [c for c in choices if np.isfinite(c.error)]
        return sorted(finite, key=lambda c: (c.cost_s, c.error))

    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        return [cheap, dear]

    def solve(self, menu: Menu, budget_s: float) -> Choice:
        choices = self.frontier(menu)
        within = [c for c in choices if c.cost_s <= budget_s]
        return min(within, key=lambda c: c.error) if within else choices[0]

    @staticmethod
    def _column(menu: Menu, column: int) -> Choice:
        rows = np.arange(len(menu.error))
        allowed = np.isfinite(menu.error[:, column])
        cheapest = np.where(menu.dense[None, :], menu.cost_s, np.inf).argmin(axis=1)
        chosen = np.where(allowed, column, cheapest)
        whole = np.full(len(menu.starts), -1, np.int64)
        cost_s = float(menu.cost_s[rows, chosen].sum())
        error = float(menu.error[rows, chosen].sum())
        return Choice(chosen, whole, menu.k[rows, chosen], cost_s, error, float("nan"), float("-inf"))

    @staticmethod
    def _whole(menu: Menu, way: int) -> Choice:
        rows = np.arange(len(menu.error))
        column = np.where(np.isfinite(menu.error), menu.error, np.inf).argmin(axis=1)
        whole = np.full(len(menu.starts), way, np.int64)
        cost_s = float((menu.whole_link_s[:, way] + menu.whole_coding_s[:, way]).sum())
        error = float(menu.whole_error[:, way].sum())
        return Choice(column, whole, menu.k[rows, column], cost_s, error, float("nan"), float("-inf"))

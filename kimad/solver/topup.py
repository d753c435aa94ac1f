"""Spends what a budget leaves over: raises k of sparse layers between the densities of the menu."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kimad.menu import Menu
from kimad.solver.interface import Choice

ENOUGH = 1e-4  # share of the budget that may stay unspent
PASSES = 4


def top_up(menu: Menu, choice: Choice, budget_s: float, bound: float) -> Choice:
    """The choice with as much more kept as `budget_s` allows, best gain per second first.

    Between two densities cost and error are taken as linear in k, from above: frames grow in whole bytes and
    Elias-Fano codes are concave in k, so the share is kept a little below what the line allows.
    """
    rows = np.arange(len(choice.column))
    column, k = choice.column.copy(), choice.k.copy()
    cost_s, error = choice.cost_s, choice.error
    counts = np.diff(np.append(menu.starts, len(rows)))
    in_frames = np.repeat(choice.whole < 0, counts)
    menu_cost_s = menu.cost_s
    slack_s = budget_s - cost_s
    partly: set[int] = set()
    for _ in range(PASSES):
        follower = menu.next_column[column]
        step_s = menu_cost_s[rows, follower] - menu_cost_s[rows, column]
        gain = menu.error[rows, column] - menu.error[rows, follower]
        open_ = in_frames & (follower >= 0) & (step_s > 0) & (gain > 0) & np.isfinite(gain)
        moved = False
        for i in sorted(np.flatnonzero(open_).tolist(), key=lambda i: -gain[i] / step_s[i]):
            if slack_s <= ENOUGH * budget_s:
                break
            if i in partly:
                continue
            if step_s[i] <= slack_s:
                column[i], share, moved = follower[i], 1.0, True
                k[i] = menu.k[i, column[i]]
            else:
                share = _share(menu, i, int(column[i]), int(follower[i]), slack_s / step_s[i])
                if share <= 0:
                    continue
                k[i] = menu.k[i, column[i]] + int(share * (menu.k[i, follower[i]] - menu.k[i, column[i]]))
                partly.add(i)
            slack_s -= share * step_s[i]
            cost_s += share * step_s[i]
            error -= share * gain[i]
        if not moved or slack_s <= ENOUGH * budget_s:
            break
    return replace(choice, column=column, k=k, cost_s=float(cost_s), error=float(error), bound=bound)


def _share(menu: Menu, layer: int, column: int, follower: int, share: float) -> float:
    """A share of the way to the next density that surely fits: whole entries, rounded down, one byte each spared."""
    entries = int(menu.k[layer, follower] - menu.k[layer, column])
    return max(0, int(share * entries) - 2) / entries if entries > 0 else 0.0

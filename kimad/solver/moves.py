"""Single moves: one layer at a time takes another column of the menu, to use a budget up or to get back into it.

The price of a budget leaves one layer (or bucket) undecided, whose two options may be far apart. From the cheap side
layers are moved up by gain per second while they fit; from the dear side they are moved down by loss per second.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice

Bools = NDArray[np.bool_]

MOVES = 16
TINY_S = 1e-12


def moved_up(menu: Menu, choice: Choice, budget_s: float) -> Choice:
    """`choice` with up to MOVES layers at better columns, within the budget."""
    rows = np.arange(len(choice.column))
    column, cost_s, error = choice.column.copy(), choice.cost_s, choice.error
    menu_cost_s, free = menu.cost_s, _in_frames(menu, choice)[:, None]
    for _ in range(MOVES):
        more_s = menu_cost_s - menu_cost_s[rows, column][:, None]
        gain = menu.error[rows, column][:, None] - menu.error
        allowed = free & (more_s > TINY_S) & (more_s <= budget_s - cost_s) & (gain > 0)
        if not allowed.any():
            break
        i, j = _argmin(-gain / np.maximum(more_s, TINY_S), allowed)
        cost_s, error, column[i] = cost_s + more_s[i, j], error - gain[i, j], j
    return replace(choice, column=column, k=menu.k[rows, column], cost_s=float(cost_s), error=float(error))


def moved_down(menu: Menu, choice: Choice, budget_s: float) -> Choice | None:
    """`choice` with up to MOVES layers at cheaper columns; None if it still costs more than the budget."""
    rows = np.arange(len(choice.column))
    column, cost_s, error = choice.column.copy(), choice.cost_s, choice.error
    menu_cost_s, free = menu.cost_s, _in_frames(menu, choice)[:, None]
    for _ in range(MOVES):
        if cost_s <= budget_s:
            break
        less_s = menu_cost_s[rows, column][:, None] - menu_cost_s
        loss = menu.error - menu.error[rows, column][:, None]
        allowed = free & (less_s > TINY_S) & np.isfinite(loss)
        if not allowed.any():
            break
        useful_s = np.clip(less_s, TINY_S, cost_s - budget_s)  # what is saved beyond the need is not counted
        i, j = _argmin(loss / useful_s, allowed)
        cost_s, error, column[i] = cost_s - less_s[i, j], error + loss[i, j], j
    if cost_s > budget_s:
        return None
    return replace(choice, column=column, k=menu.k[rows, column], cost_s=float(cost_s), error=float(error))


def in_frames(menu: Menu, choice: Choice, whole: NDArray[np.int64]) -> Choice:
    """`choice` with other ways for whole buckets."""
    rows, where = np.arange(len(choice.column)), np.arange(len(menu.starts))
    layer_cost_s = np.add.reduceat(menu.cost_s[rows, choice.column], menu.starts)
    layer_error = np.add.reduceat(menu.error[rows, choice.column], menu.starts)
    whole_cost_s = (menu.whole_link_s + menu.whole_coding_s)[where, whole]
    cost_s = float(np.where(whole >= 0, whole_cost_s, layer_cost_s).sum())
    error = float(np.where(whole >= 0, menu.whole_error[where, whole], layer_error).sum())
    return replace(choice, whole=whole, cost_s=cost_s, error=error)


def _in_frames(menu: Menu, choice: Choice) -> Bools:
    counts = np.diff(np.append(menu.starts, len(choice.column)))
    travels: Bools = np.repeat(choice.whole < 0, counts)
    return travels


def _argmin(score: NDArray[np.float64], allowed: Bools) -> tuple[int, int]:
    i, j = np.unravel_index(int(np.where(allowed, score, np.inf).argmin()), score.shape)
    return int(i), int(j)

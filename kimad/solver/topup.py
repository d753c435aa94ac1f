"""Spends what a budget leaves over: raises k of sparse layers between the densities of the menu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice
from kimad.solver.moves import moved_up

Ints = NDArray[np.int64]

ENOUGH = 1e-4  # share of the budget that may stay unspent
PASSES = 4
CLOSE = 1.001  # times the bound: good enough, no more is tried


def top_up(menu: Menu, choice: Choice, budget_s: float, bound: float) -> Choice:
    """The choice with as much more sent as `budget_s` allows."""
    best = _raise_k(menu, choice, budget_s)
    if best.error > bound * CLOSE:
        best = min(best, _raise_k(menu, moved_up(menu, choice, budget_s), budget_s), key=lambda c: c.error)
    return replace(best, bound=bound)


def _raise_k(menu: Menu, choice: Choice, budget_s: float) -> Choice:
    """The choice with as much more kept as `budget_s` allows, best gain per second first.

    Between two densities the error is linear in k, as curves are. Cost is not: Elias-Fano codes are concave in k and
    grow in whole bytes, so the k that just fits is searched with exact sizes.
    """
    rows = np.arange(len(choice.column))
    column, k = choice.column.copy(), choice.k.copy()
    cost_s, error = choice.cost_s, choice.error
    counts = np.diff(np.append(menu.starts, len(rows)))
    in_frames = np.repeat(choice.whole < 0, counts)
    menu_cost_s = menu.cost_s
    partly: set[int] = set()
    for _ in range(PASSES):
        follower = followers(menu, column)
        step_s = menu_cost_s[rows, follower] - menu_cost_s[rows, column]
        gain = menu.error[rows, column] - menu.error[rows, follower]
        open_ = in_frames & (follower >= 0) & (step_s > 0) & (gain > 0) & np.isfinite(gain)
        moved = False
        for i in sorted(np.flatnonzero(open_).tolist(), key=lambda i: -gain[i] / step_s[i]):
            slack_s = budget_s - cost_s
            if slack_s <= ENOUGH * budget_s:
                break
            if i in partly:
                continue
            here, there = int(menu.k[i, column[i]]), int(menu.k[i, follower[i]])
            if step_s[i] <= slack_s:
                column[i], k[i], moved = follower[i], there, True
                cost_s += step_s[i]
                error -= gain[i]
                continue
            limit_s = menu_cost_s[i, column[i]] + slack_s
            k[i] = largest(partial(_fits, menu, i, int(column[i]), limit_s), here, there)
            if k[i] > here:
                partly.add(i)
                cost_s += sum(menu.seconds(i, int(column[i]), int(k[i]))) - menu_cost_s[i, column[i]]
                error -= gain[i] * (k[i] - here) / (there - here)
        if not moved or budget_s - cost_s <= ENOUGH * budget_s:
            break
    return replace(choice, column=column, k=k, cost_s=float(cost_s), error=float(error))


def followers(menu: Menu, column: Ints) -> Ints:
    """For each layer the next column of the same family that keeps more, or -1: small layers repeat a k."""
    rows = np.arange(len(column))
    follower: Ints = menu.next_column[column]
    while True:
        same = (follower >= 0) & (menu.k[rows, follower] == menu.k[rows, column])
        if not same.any():
            return follower
        follower = np.where(same, menu.next_column[follower], follower)


def _fits(menu: Menu, layer: int, column: int, limit_s: float, k: int) -> bool:
    return sum(menu.seconds(layer, column, k)) <= limit_s


def largest(fits: Callable[[int], bool], low: int, above: int) -> int:
    """The largest k from `low` to below `above` that fits, `low` being taken to."""
    while above - low > 1:
        middle = (low + above) // 2
        if fits(middle):
            low = middle
        else:
            above = middle
    return low

"""Small random menus, every plan of which can be looked at; and the integer programme for larger ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from kimad.menu import Menu
from kimad.solver import Choice
from kimad.timeline import ENCODE_SHARE, finish_s

Floats = NDArray[np.float64]

DENSITIES = np.array([0.05, 0.2, 0.6])
SPARSE = slice(1, 1 + len(DENSITIES))
COLUMNS = 1 + len(DENSITIES) + 2  # drop, sparse ones, two dense ones


def random_menu(seed: int, layers: int | None = None) -> Menu:
    """A menu of 1 to 4 layers in 1 to 3 buckets, or of so many layers; costs and errors of any size and shape."""
    rng = np.random.default_rng(seed)
    count = layers or int(rng.integers(1, 5))
    starts = np.unique(np.append(0, rng.integers(0, count, size=2)))
    numel = np.exp(rng.uniform(np.log(20), np.log(5000), count)).astype(int)
    k = np.zeros((count, COLUMNS), np.int64)
    k[:, SPARSE] = np.ceil(DENSITIES * numel[:, None])
    energy = numel * np.exp(rng.uniform(-4, 0, count)) * (rng.random(count) > 0.05)  # some layers are silent
    error = np.empty(k.shape)
    error[:, 0] = energy
    error[:, SPARSE] = energy[:, None] * np.sort(rng.random((count, len(DENSITIES))), axis=1)[:, ::-1]
    error[:, -2], error[:, -1] = energy * rng.choice([1e-4, 0.02], count), 0.0
    a_value, a_layer = rng.uniform(0.2, 2, (count, 1)), rng.uniform(0, 40, (count, 1))
    link_s, coding_s = np.zeros(k.shape), rng.uniform(0, 5, (count, 1)) * np.ones(COLUMNS)
    link_s[:, SPARSE] = a_layer + a_value * k[:, SPARSE]
    coding_s[:, SPARSE] += a_layer + rng.uniform(0, 0.5) * k[:, SPARSE]
    link_s[:, -2:] = numel[:, None] * rng.uniform(0.2, 1.2, (count, 2))
    coding_s[:, -2:] += rng.uniform(0, 0.2, (count, 2)) * numel[:, None]
    banned = rng.random(count) < 0.2  # small layers have no sparse columns, others must be sent
    error[banned, SPARSE] = np.inf
    error[(rng.random(count) < 0.15), 0] = np.inf
    of_bucket = np.add.reduceat(numel, starts)[:, None]
    whole_error = np.add.reduceat(energy, starts)[:, None] * np.array([0.0, 1e-6])
    whole_error[rng.random(len(starts)) < 0.2] = np.inf
    size_s = float(np.exp(rng.uniform(np.log(1e-7), np.log(1e-2))))
    unit = float(np.exp(rng.uniform(-15, 15)))
    link_s, coding_s = link_s * size_s, coding_s * size_s
    ends_s = link_s[:, SPARSE], coding_s[:, SPARSE]

    def seconds(layer: int, column: int, kept: int) -> tuple[float, float]:
        at = k[layer, SPARSE]
        return float(np.interp(kept, at, ends_s[0][layer])), float(np.interp(kept, at, ends_s[1][layer]))

    spread_s = rng.choice([0.0, 1.0, 10.0]) * float(link_s.max()) * rng.random(len(starts))
    return Menu(
        link_s, coding_s, error * unit, k, starts, rng.uniform(0.3, 2, (len(starts), 2)) * of_bucket * size_s,
        np.array([0.0, 0.1]) * of_bucket * size_s, whole_error * unit, float(energy.sum()) * unit,
        np.array([-1, *range(2, SPARSE.stop), -1, -1, -1]), np.arange(COLUMNS) >= SPARSE.stop, seconds,
        None if rng.random() < 0.2 else np.cumsum(spread_s),
    )  # fmt: skip


@dataclass(frozen=True)
class Plans:
    """Every plan of a menu: N plans, B buckets."""

    link_s: Floats  # (N, B)
    coding_s: Floats  # (N, B)
    error: Floats  # (N,)
    step_s: Floats  # (N,)

    @classmethod
    def of(cls, menu: Menu) -> Plans:
        ends = np.append(menu.starts[1:], len(menu.error))
        tables = []
        for b, (first, end) in enumerate(zip(menu.starts.tolist(), ends.tolist(), strict=True)):
            columns = [np.flatnonzero(np.isfinite(menu.error[i])).tolist() for i in range(first, end)]
            chosen, rows = np.array(list(product(*columns))), np.arange(first, end)
            each = menu.link_s[rows, chosen], menu.coding_s[rows, chosen], menu.error[rows, chosen]
            ways = np.isfinite(menu.whole_error[b])
            wholes = menu.whole_link_s[b, ways], menu.whole_coding_s[b, ways], menu.whole_error[b, ways]
            tables.append([np.append(a.sum(axis=1), w) for a, w in zip(each, wholes, strict=True)])
        every = np.array(list(product(*(range(len(t[0])) for t in tables))))
        link_s, coding_s, error = (
            np.stack([table[i][every[:, b]] for b, table in enumerate(tables)], axis=1) for i in range(3)
        )
        ready_s = np.zeros(len(tables)) if menu.ready_s is None else menu.ready_s
        return cls(link_s, coding_s, error.sum(axis=1), finish_s(ready_s, link_s, coding_s))

    @property
    def cost_s(self) -> Floats:
        total: Floats = (self.link_s + self.coding_s).sum(axis=1)
        return total

    def least_error(self, budget_s: float) -> float:
        """Of the plans within a budget; inf if there is none."""
        return float(self.error[self.cost_s <= budget_s].min(initial=np.inf))

    def least_error_of_step(self, step_s: float) -> float:
        """Of the plans whose step is as short."""
        return float(self.error[self.step_s <= step_s].min(initial=np.inf))


def largest_move(menu: Menu) -> float:
    """The most that one layer, or one bucket, can gain."""
    finite = np.where(np.isfinite(menu.error), menu.error, -np.inf)
    layers = finite.max(axis=1) - np.where(np.isfinite(menu.error), menu.error, np.inf).min(axis=1)
    return float(max(layers.max(), np.add.reduceat(finite.max(axis=1), menu.starts).max()))


def figures_of(menu: Menu, choice: Choice) -> tuple[Floats, Floats, float]:
    """(B,) seconds on the link and of coding, and the error: of a choice, from its columns, ways and k alone."""
    link_s, coding_s, error = np.zeros(len(menu.starts)), np.zeros(len(menu.starts)), 0.0
    bucket_of = np.searchsorted(menu.starts, np.arange(len(menu.error)), side="right") - 1
    for b, way in enumerate(choice.whole.tolist()):
        if way >= 0:
            link_s[b], coding_s[b] = menu.whole_link_s[b, way], menu.whole_coding_s[b, way]
            error += float(menu.whole_error[b, way])
    for i in np.flatnonzero(choice.whole[bucket_of] < 0).tolist():
        column, kept, b = int(choice.column[i]), int(choice.k[i]), bucket_of[i]
        low, after = int(menu.k[i, column]), int(menu.next_column[column])
        seconds = (float(menu.link_s[i, column]), float(menu.coding_s[i, column]))
        left = float(menu.error[i, column])
        if kept != low:
            part = (kept - low) / (int(menu.k[i, after]) - low)
            seconds, left = menu.seconds(i, column, kept), left - part * (left - float(menu.error[i, after]))
        link_s[b], coding_s[b], error = link_s[b] + seconds[0], coding_s[b] + seconds[1], error + left
    return link_s, coding_s, error


def integer_optimum(menu: Menu, limit_s: float, seconds: float, *, of_step: bool = False) -> float:
    """Least error of one column a layer, or one way a bucket: within a budget, or in a step as short. By HiGHS."""
    layers, buckets = menu.error.shape[0], len(menu.starts)
    bucket_of = np.searchsorted(menu.starts, np.arange(layers), side="right") - 1
    i, j = np.nonzero(np.isfinite(menu.error))
    b, way = np.nonzero(np.isfinite(menu.whole_error))
    link_s = np.concatenate([menu.link_s[i, j], menu.whole_link_s[b, way]])
    coding_s = np.concatenate([menu.coding_s[i, j], menu.whole_coding_s[b, way]])
    error = np.concatenate([menu.error[i, j], menu.whole_error[b, way]])
    bucket = np.concatenate([bucket_of[i], b])
    members = [np.flatnonzero(bucket_of == x) for x in b.tolist()]
    rows = np.concatenate([i, *members])
    cols = np.concatenate([np.arange(len(i)), *(np.full(len(m), len(i) + n) for n, m in enumerate(members))])
    one_each = csr_matrix((np.ones(len(rows)), (rows, cols.astype(int))), shape=(layers, len(error)))
    if of_step:
        ready_s = np.zeros(buckets) if menu.ready_s is None else menu.ready_s
        at = np.arange(buckets)[:, None]
        taken = np.where(bucket >= at, link_s, 0.0) + np.where(bucket <= at, 1.0, 1 - ENCODE_SHARE) * coding_s
        limits = limit_s - ready_s
    else:
        taken, limits = (link_s + coding_s)[None], np.array([limit_s])
    unit_s = max(float(np.abs(taken).max()), 1e-300)
    scale = max(float(error.max()), 1e-300) / 1e3
    found = milp(
        error / scale,
        integrality=np.ones(len(error)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(taken / unit_s, -np.inf, limits / unit_s)],
        options={"time_limit": seconds, "mip_rel_gap": 1e-6},
    )
    return float(found.fun) * scale if found.x is not None else float("inf")

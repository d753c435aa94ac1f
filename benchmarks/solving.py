"""Solving: how long it takes, how far from the optimum it ends, and what it saves on a real gradient."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.kernels import heavy_tailed, layers
from benchmarks.menu import BPS, STEPS, errors, free_coding, gradients
from benchmarks.rows import Row
from kimad.candidates import Candidates
from kimad.compressors import compressor
from kimad.cost import CodingCost
from kimad.curves import DENSITIES, Curve, kept_energy
from kimad.layout import Layer
from kimad.menu import OFFERED, WHOLE, Menu, MenuMaker
from kimad.objective import Progress
from kimad.plan import all_reduce_bytes
from kimad.solver import ALL_SOLVERS, Choice, Lagrangian
from kimad.solver.pricing import bracket
from kimad.solver.timing import ready_s

Floats = NDArray[np.float64]

BUDGETS = (0.001, 0.005, 0.01, 0.05, 0.1)  # of the dense bytes
GAPS = {0.001: 0.1, 0.01: 0.1, 0.05: 0.5, 0.25: 0.5}  # budget of the dense bytes -> % above the dual bound
GRID = np.geomspace(2e-5, 1.0, 240)  # densities of the menu whose dual bound it is
MANY = 400  # layers
BUCKET_LAYERS = 25
DENSE = 8.0  # bytes of a kept entry as float32 and int32
SAVED = 0.01  # budget at which squared errors are compared


def solver_rows(repeats: int) -> list[Row]:
    """Time and gap of the solver on ResNet-18's layers."""
    torch.set_num_threads(1)
    named = layers()
    times, gaps = _solve_times(heavy_menu(named, [len(named)]), repeats)
    note = f"budgets {', '.join(f'{100 * b:g} %' for b in BUDGETS)}"
    return [
        Row(
            "solve, 62 layers", 1e3 * statistics.median(times), "ms", 2, "lower", f"{note}; max {1e3 * max(times):.1f}"
        ),
        Row("solve, 62 layers, gap to the dual bound", max(gaps), "%", 0.5, "lower", f"largest of {note}"),
    ]


def solving_rows(quick: bool) -> list[Row]:
    """All bounds of solving."""
    torch.set_num_threads(1)
    repeats = 5 if quick else 25
    named, values, owed = gradients(8 if quick else STEPS)
    return [
        *gap_rows(named, values),
        *time_rows(repeats),
        saved_row("raw gradient", named, values, 2.9),
        saved_row("gradient + residual", named, owed, 2.3),
    ]


@dataclass(frozen=True)
class Exact:
    """The curve of every k, from all entries of a layer."""

    values: Tensor

    @property
    def numel(self) -> int:
        return self.values.numel()

    @property
    def total(self) -> float:
        return float(self._running[-1])

    @cached_property
    def _running(self) -> Floats:
        energy = np.sort(self.values.numpy().astype(np.float64) ** 2)[::-1]
        return np.concatenate([[0.0], np.cumsum(energy)])

    def kept(self, k: NDArray[np.int64]) -> Floats:
        kept: Floats = self._running[k]
        return kept


def gap_rows(named: list[Layer], values: list[Tensor]) -> list[Row]:
    """Error of what the solver chooses, of all entries, over the dual bound of a grid of 240 densities.

    Choosing from that grid, which is the solver's own gap, and from the runtime's 47, which adds what the grid costs.
    """
    exact = [Exact(v) for v in values]
    curves = [Curve(e.numel, e.kept(np.ceil(DENSITIES * e.numel).astype(np.int64))) for e in exact]
    dense_s = all_reduce_bytes(sum(layer.nbytes for layer in named), 2) * 8 / BPS
    makers = {"240 densities": MenuMaker([named], 2, grid=GRID), "the runtime's densities": MenuMaker([named], 2)}
    menus = {
        name: with_exact_errors(maker, maker.make(BPS, free_coding(), curves, [False] * len(named)), exact)
        for name, maker in makers.items()
    }
    rows = []
    for name, maker in makers.items():
        for budget, allowed in GAPS.items():
            choice = Lagrangian().solve(menus[name], budget * dense_s)
            bound = bracket(menus["240 densities"], budget * dense_s)[2]
            gap = 100 * (true_error(maker, choice, exact) / bound - 1)
            lost = choice.error / menus[name].total
            note = f"{choice.cost_s / (budget * dense_s):.5f} of the budget used, {lost:.3g} of the energy left"
            title = f"solver, {name}, {100 * budget:g} % of the dense bytes, gap to the dual bound, ResNet-18 gradient"
            rows.append(Row(title, gap, "%", allowed, "lower", note))
    return rows


def with_exact_errors(maker: MenuMaker, menu: Menu, exact: Sequence[Exact]) -> Menu:
    """The menu with the error of every column from all entries."""
    for i, curve in enumerate(exact):
        for j, column in enumerate(maker.columns):
            if np.isfinite(menu.error[i, j]):
                k = np.array([menu.k[i, j]])
                menu.error[i, j] = compressor(column.operator).errors(k, column.values, curve)[0]
    return menu


def true_error(maker: MenuMaker, choice: Choice, exact: Sequence[Exact]) -> float:
    """Squared error of a choice, from all entries."""
    way = int(choice.whole[0])
    total = 0.0
    for i, curve in enumerate(exact):
        column = maker.columns[int(choice.column[i])]
        operator, values = (WHOLE[way].operator, "") if way >= 0 else (column.operator, column.values)
        total += float(compressor(operator).errors(np.array([choice.k[i]]), values, curve)[0])
    return total


def heavy_menu(named: list[Layer], counts: Sequence[int]) -> Menu:
    """The full menu of layers with made-up gradients, in buckets of so many layers that become ready evenly."""
    curves = [
        Curve(layer.numel, kept_energy(values, 0))
        for layer, values in zip(named, heavy_tailed([layer.numel for layer in named], 2), strict=True)
    ]
    ends = np.cumsum(counts)
    buckets = [named[end - count : end] for end, count in zip(ends, counts, strict=True)]
    dense_s = 8 * sum(layer.nbytes for layer in named) / BPS
    ready = 0.1 * dense_s * (1 + 2 * ends / ends[-1]) / 3
    return MenuMaker(buckets, 2).make(BPS, CodingCost(), curves, [False] * len(named), ready)


def many_layers() -> list[Layer]:
    """400 layers of 1,000 to 100,000 entries."""
    sizes = np.exp(np.random.default_rng(3).uniform(np.log(1e3), np.log(1e5), MANY)).astype(int)
    return [Layer(f"layer{i}", (n,)) for i, n in enumerate(sizes.tolist())]


def time_rows(repeats: int) -> list[Row]:
    """Milliseconds of one solution, and of a frontier with a price for each bucket."""
    rows = []
    small, large = layers(), many_layers()
    for named, counts, allowed_ms in (
        (small, (14, 20, len(small) - 34), 1.0),
        (large, (BUCKET_LAYERS,) * (MANY // BUCKET_LAYERS), 5.0),
    ):
        menu, count = heavy_menu(named, counts), len(named)
        solve, _ = _solve_times(menu, repeats)
        pick, nested = (_timed(partial(pick_of, menu, name), 5 * repeats) for name in ("lagrangian", "nested"))
        for name, times in (
            ("solve with top-up, full menu", solve),
            ("pick from the frontier, full menu", pick),
            ("pick, a price for each bucket, full menu", nested),
        ):
            note = f"median of {len(times)}; {1e3 * min(times):.2f}..{1e3 * max(times):.2f} ms; {len(counts)} buckets"
            rows.append(Row(f"{name}, {count} layers", 1e3 * statistics.median(times), "ms", allowed_ms, "lower", note))
    return rows


def pick_of(menu: Menu, name: str) -> int:
    """What a step's decision asks of a solver."""
    solver, objective = ALL_SOLVERS[name], Progress()
    frontier = solver.frontier(menu)
    i = objective.pick(Candidates.of(menu, frontier, ready_s(menu), BPS).points())
    piece = solver.between(menu, frontier[max(0, i - 1)], frontier[min(len(frontier) - 1, i + 1)])
    return objective.pick(Candidates.of(menu, [frontier[i], *piece], ready_s(menu), BPS).points())


def _solve_times(menu: Menu, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of every solution, and gaps to the dual bound in percent."""
    dense_s = float(menu.whole_link_s[:, 0].sum())  # of two workers: every byte once
    times, gaps = [], []
    for _ in range(repeats):
        for share in BUDGETS:
            began_s = time.perf_counter()
            choice = Lagrangian().solve(menu, share * dense_s)
            times.append(time.perf_counter() - began_s)
            gaps.append(100 * (choice.error / choice.bound - 1))
    return times, gaps


def _timed(job: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        job()
        times.append(time.perf_counter() - began_s)
    return times


def saved_row(name: str, named: list[Layer], values: list[Tensor], bound: float) -> Row:
    """Squared error of uniform top-k as float32 and int32 over that of the plan solved, both of what really arrives."""
    kept = lost = 0.0
    for v in values:
        curve = Exact(v)
        kept += float(curve.kept(np.array([int(SAVED * 4 * v.numel() / DENSE)]))[0])
        lost += curve.total
    uniform = 1 - kept / lost
    (ours,) = errors(named, values, OFFERED, (SAVED,))
    note = f"{uniform:.3f} against {ours:.3f} of the energy"
    title = f"squared error at {100 * SAVED:g} % of the dense bytes, uniform top-k / ours, {name}"
    return Row(title, uniform / ours, "x", bound, "higher", note)

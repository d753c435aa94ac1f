"""Solving, and the layers and values that solving and coding are measured on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row
from examples.resnet.model import ResNet18
from kimad.cost import CodingCost
from kimad.curves import Curve, kept_energy
from kimad.layout import Layer
from kimad.menu import MenuMaker
from kimad.solver import Lagrangian

BUDGETS = (0.001, 0.005, 0.01, 0.05, 0.1)  # of the dense bytes
BPS = 100e6  # any rate: seconds and bytes are proportional


def layers() -> list[Layer]:
    """ResNet-18's 62 tensors, 11.2 M values."""
    return [Layer(name, tuple(p.shape)) for name, p in ResNet18().named_parameters()]


def heavy_tailed(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Values with the tails of gradients, layer scales spread over a hundred."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy((rng.standard_t(3, n) * np.exp(rng.uniform(np.log(0.01), 0))).astype(np.float32))
        for n in sizes
    ]


def solver_rows(repeats: int) -> list[Row]:
    """Time and gap of the solver on ResNet-18's layers."""
    torch.set_num_threads(1)
    named = layers()
    curves = [
        Curve(layer.numel, kept_energy(values, 0))
        for layer, values in zip(named, heavy_tailed([layer.numel for layer in named], 2), strict=True)
    ]
    menu = MenuMaker([named], 2).make(BPS, CodingCost(), curves, [False] * len(named))
    dense_s = sum(4 * layer.numel for layer in named) * 8 / BPS
    solver, times, gaps = Lagrangian(), [], []
    for _ in range(repeats):
        for share in BUDGETS:
            began_s = time.perf_counter()
            choice = solver.solve(menu, share * dense_s)
            times.append(time.perf_counter() - began_s)
            gaps.append(100 * (choice.error / choice.bound - 1))
    note = f"budgets {', '.join(f'{100 * b:g} %' for b in BUDGETS)}"
    return [
        Row(
            "solve, 62 layers", 1e3 * statistics.median(times), "ms", 2, "lower", f"{note}; max {1e3 * max(times):.1f}"
        ),
        Row("solve, 62 layers, gap to the dual bound", max(gaps), "%", 0.5, "lower", f"largest of {note}"),
    ]

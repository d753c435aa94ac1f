"""Coding and solving, on one thread: ratios to a copy of the same memory, and to torch.topk, taken side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row
from examples.resnet.model import ResNet18
from kimad.compressors import Option, decode, encode, wire_bytes
from kimad.cost import CodingCost
from kimad.curves import Curve, kept_energy
from kimad.layout import Layer
from kimad.menu import MIN_SPARSE_NUMEL, MenuMaker
from kimad.solver import Lagrangian

DENSITY = 0.01
BUDGETS = (0.001, 0.005, 0.01, 0.05, 0.1)  # of the dense bytes
BPS = 100e6  # any rate: seconds and bytes are proportional
SMALL = Option("bfloat16")  # how layers too small for selection travel


def layers() -> list[Layer]:
    """ResNet-18's 62 tensors, 11.2 M values."""
    return [Layer(name, tuple(p.shape)) for name, p in ResNet18().named_parameters()]


def heavy_tailed(sizes: list[int], seed: int) -> list[Tensor]:
    """Values with the tails of gradients, layer scales spread over a hundred."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy((rng.standard_t(3, n) * np.exp(rng.uniform(np.log(0.01), 0))).astype(np.float32))
        for n in sizes
    ]


def seconds(function: Callable[[], None]) -> float:
    """Of one call."""
    began_s = time.perf_counter()
    function()
    return time.perf_counter() - began_s


def kernel_rows(repeats: int) -> list[Row]:
    """Residual, selection and encoding at 1 % against a copy, and against the same by torch.topk."""
    torch.set_num_threads(1)
    sizes = [layer.numel for layer in layers()]
    gradients, residuals = heavy_tailed(sizes, 0), heavy_tailed(sizes, 1)
    memory = [r.clone() for r in residuals]
    options = [Option("topk", max(1, round(DENSITY * n)), "log4") if n >= MIN_SPARSE_NUMEL else SMALL for n in sizes]
    frames = [torch.empty(wire_bytes((n,), o), dtype=torch.uint8) for n, o in zip(sizes, options, strict=True)]
    source, target = torch.cat(gradients).numpy(), np.empty(sum(sizes), np.float32)

    def copy() -> None:
        np.copyto(target, source)

    def ours() -> None:
        for e, g, option, frame in zip(memory, gradients, options, frames, strict=True):
            values = e.numpy()
            np.add(values, g.numpy(), out=values)
            encode(e, option, frame)
            decode(frame, e, -1.0)

    def by_topk() -> None:
        for e, g, option in zip(memory, gradients, options, strict=True):
            e.add_(g)
            if option is SMALL:
                e.zero_()
                continue
            kept = e.abs().topk(option.k, sorted=False).indices
            torch.cat([e[kept].view(torch.uint8), kept.to(torch.int32).view(torch.uint8)])
            e[kept] = 0

    times: dict[Callable[[], None], list[float]] = {copy: [], ours: [], by_topk: []}
    for _ in range(repeats):
        for function, taken in times.items():
            for e, r in zip(memory, residuals, strict=True):
                e.copy_(r)
            taken.append(seconds(function))
    copy_s, ours_s, topk_s = (statistics.median(t) for t in times.values())
    spread = (
        f"median of {repeats}; {min(times[ours]) * 1e3:.1f}..{max(times[ours]) * 1e3:.1f} ms, copy {copy_s * 1e3:.1f}"
    )
    kept = [(o.k, f.numel()) for o, f in zip(options, frames, strict=True) if o is not SMALL]
    return [
        Row("select + residual + encode, 1 % / one copy", ours_s / copy_s, "x", 6, "lower", spread),
        Row("the same / torch.topk based", topk_s / ours_s, "x", 6, "higher", f"torch.topk {topk_s * 1e3:.0f} ms"),
        Row(
            "bytes per kept value, 1 %, 4-bit", sum(b for _, b in kept) / sum(k for k, _ in kept), "bytes", 1.8, "lower"
        ),
    ]


def solver_rows(repeats: int) -> list[Row]:
    """Time and gap of the solver on ResNet-18's layers."""
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

"""The coders' bounds: `python -m benchmarks.codecs`. On one thread, in copies of the same memory, taken in turn.

All layers go in one call (`Batch`), as the runtime sends them; one tensor is a batch of one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.kernels import heavy_tailed, layers
from benchmarks.rows import Row, command
from kimad.compressors import Batch, Option, wire_bytes
from kimad.launch.codecs_measure import timed_s
from kimad.menu import MIN_SPARSE_NUMEL

SMALL = Option("bfloat16")  # how layers too small for selection travel


@dataclass(frozen=True)
class Sparse:
    """Bounds of top-k with 4-bit values at one density."""

    density: float
    owed: float  # copies: residual += gradient, select, encode, residual -= sent
    decode: float  # copies
    bytes_per_kept: float
    faster: float  # than the same by torch.topk


@dataclass(frozen=True)
class Dense:
    """Bounds of an operator that sends every entry."""

    operator: str
    encode: float  # copies
    decode: float  # copies
    owed: float  # copies


SPARSE = (
    Sparse(0.001, owed=3.5, decode=0.3, bytes_per_kept=2.1, faster=6),
    Sparse(0.01, owed=4.5, decode=0.3, bytes_per_kept=1.7, faster=8),
    Sparse(0.1, owed=10, decode=1.5, bytes_per_kept=1.25, faster=4),
)
DENSE = (
    Dense("int8", encode=3.5, decode=1.2, owed=5.5),
    Dense("int4", encode=5, decode=2.5, owed=7),
    Dense("bfloat16", encode=1, decode=1, owed=3),
)


@dataclass(frozen=True)
class Coder:
    """One way to send all layers, with frames that are written again and again."""

    batch: Batch
    frames: Tensor

    @property
    def options(self) -> Sequence[Option]:
        return self.batch.options

    def encode(self, values: Sequence[Tensor]) -> None:
        self.batch.encode(values, self.frames)

    def encode_owed(self, memory: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self.batch.encode(memory, self.frames, gradients=gradients)

    def decode(self, target: Sequence[Tensor]) -> None:
        self.batch.decode(self.frames, target, [1.0] * len(target))

    def by_topk(self, memory: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """What `encode_owed` does, by torch alone: indices as int32, values as float32."""
        for e, g, option in zip(memory, gradients, self.options, strict=True):
            e.add_(g)
            if option is SMALL:
                e.sub_(e.to(torch.bfloat16))
                continue
            kept = e.abs().topk(option.k, sorted=False).indices
            torch.cat([e.index_select(0, kept).view(torch.uint8), kept.to(torch.int32).view(torch.uint8)])
            e.index_fill_(0, kept, 0)

    def bytes_per_kept(self) -> float:
        """Wire bytes / kept entries, of the layers that are sparse."""
        kept = [(o.k, wire_bytes(s, o)) for s, o in zip(self.batch.shapes, self.options, strict=True) if o is not SMALL]
        return sum(b for _, b in kept) / sum(k for k, _ in kept)


def _coder(bound: Sparse | Dense, sizes: Sequence[int]) -> Coder:
    batch = Batch([(n,) for n in sizes], [_option(bound, n) for n in sizes])
    return Coder(batch, torch.zeros(batch.wire_bytes, dtype=torch.uint8))


def _option(bound: Sparse | Dense, n: int) -> Option:
    if isinstance(bound, Dense):
        return Option(bound.operator)
    return Option("topk", max(1, round(bound.density * n)), "log4") if n >= MIN_SPARSE_NUMEL else SMALL


def codec_rows(sizes: Sequence[int], repeats: int) -> list[Row]:
    """Every bound, on tensors of these sizes, one after the other."""
    torch.set_num_threads(1)
    gradients, residuals = heavy_tailed(sizes, 0), heavy_tailed(sizes, 1)
    memory = [r.clone() for r in residuals]
    source, target = torch.cat(gradients).numpy(), np.zeros(sum(sizes), np.float32)
    coders: dict[Sparse | Dense, Coder] = {bound: _coder(bound, sizes) for bound in (*SPARSE, *DENSE)}
    jobs: dict[str, Callable[[], None]] = {"copy": lambda: np.copyto(target, source)}
    for bound, coder in coders.items():
        jobs |= _jobs(bound, coder, gradients, memory)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, job in jobs.items():
            for e, r in zip(memory, residuals, strict=True):
                e.copy_(r)
            times[name].append(timed_s(job))
    return _rows({name: taken[1:] for name, taken in times.items()}, coders)  # the first time touches the memory


def _name(bound: Sparse | Dense) -> str:
    return f"topk {100 * bound.density:g} %" if isinstance(bound, Sparse) else bound.operator


def _jobs(
    bound: Sparse | Dense, coder: Coder, gradients: Sequence[Tensor], memory: Sequence[Tensor]
) -> dict[str, Callable[[], None]]:
    """What is timed of one coder; decoding comes after encoding."""
    name = _name(bound)
    jobs: dict[str, Callable[[], None]] = {
        f"encode with residual, {name}": lambda: coder.encode_owed(memory, gradients),
        f"decode and add, {name}": lambda: coder.decode(memory),
    }
    if isinstance(bound, Sparse):
        jobs[f"by torch.topk, {name}"] = lambda: coder.by_topk(memory, gradients)
    else:
        jobs[f"encode, {name}"] = lambda: coder.encode(gradients)
    return jobs


def _rows(times: dict[str, list[float]], coders: dict[Sparse | Dense, Coder]) -> list[Row]:
    copy_s = statistics.median(times["copy"])

    def copies(name: str, bound: float) -> Row:
        taken = times[name]
        note = f"median of {len(taken)}; {min(taken) * 1e3:.1f}..{max(taken) * 1e3:.1f} ms, copy {copy_s * 1e3:.1f}"
        return Row(f"{name} / one copy", statistics.median(taken) / copy_s, "x", bound, "lower", note)

    rows = []
    for bound, coder in coders.items():
        name = _name(bound)
        rows.append(copies(f"encode with residual, {name}", bound.owed))
        rows.append(copies(f"decode and add, {name}", bound.decode))
        if isinstance(bound, Dense):
            rows.append(copies(f"encode, {name}", bound.encode))
            continue
        owed_s, topk_s = (
            statistics.median(times[f"{what}, {name}"]) for what in ("encode with residual", "by torch.topk")
        )
        note = f"torch.topk {topk_s * 1e3:.0f} ms"
        rows.append(Row(f"by torch.topk / the same, {name}", topk_s / owed_s, "x", bound.faster, "higher", note))
        per_kept = coder.bytes_per_kept()
        rows.append(Row(f"bytes per kept value, {name}, 4-bit", per_kept, "bytes", bound.bytes_per_kept, "lower"))
    return rows


def measure(quick: bool) -> list[Row]:
    """All rows."""
    sizes = [layer.numel for layer in layers()]
    repeats = 7 if quick else 15
    whole = codec_rows([sum(sizes)], repeats)
    apart = codec_rows(sizes, repeats)
    return [
        *(replace(row, name=f"one tensor: {row.name}") for row in whole),
        *(replace(row, name=f"{len(sizes)} layers: {row.name}") for row in apart),
    ]


main = command("codecs", measure)

if __name__ == "__main__":
    main()

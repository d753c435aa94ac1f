"""What every operator costs and loses: bytes, squared error, and seconds as multiples of one copy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Compressor, Option, decode, encode, encode_owed, wire_bytes
from kimad.compressors.lowrank import matrix_of
from kimad.compressors.sparse import SparseCompressor

DENSITIES = (0.001, 0.01, 0.1)
DENSITY = 0.01  # with every value code
COUNTS = {"levels": (1, 7, 127), "rank": (1, 4)}
ROWS = 512  # of the matrix for low rank, as a convolution to 512 channels has
KEY = 1  # of all randomness


@final
@dataclass(frozen=True)
class Setting:
    """An operator and what it is set to."""

    operator: Compressor
    values: str  # code of the kept values
    density: float = 0.0  # kept share; sparse operators alone
    count: int = 0  # levels or rank

    @property
    def name(self) -> str:
        """As it is typed, but for `threshold`, whose threshold is that of its density."""
        if self.operator.sparse:
            return f"{self.operator.name}:{self.density:g}:{self.values}"
        return f"{self.operator.name}:{self.count}" if self.count else self.operator.name

    def option(self, values: Tensor) -> Option:
        """For a tensor of these values."""
        if not self.operator.sparse:
            return Option(self.operator.name, self.count, self.values)
        k = max(1, round(self.density * values.numel()))
        threshold = 0.0
        if self.operator.name == "threshold":  # as high as lets k entries through
            magnitude = np.abs(values.reshape(-1).numpy())
            threshold = float(np.partition(magnitude, magnitude.size - k)[magnitude.size - k])
        return Option(self.operator.name, k, self.values, threshold)

    def view(self, values: Tensor) -> Tensor:
        """Flat values, or as many of them as fill a matrix for an operator that needs one."""
        if self.operator.counts != "rank":
            return values
        rows, columns = matrix_shape(values.numel())
        return values[: rows * columns].view(rows, columns)


def matrix_shape(n: int) -> tuple[int, int]:
    """512 rows, or the square root of n where n is below 512 x 512; what is left over is left out."""
    rows = min(ROWS, isqrt(n))
    return rows, n // rows


def settings() -> Iterator[Setting]:
    """Every operator: sparse ones at each density, and with each value code at one; others with each count."""
    for operator in ALL_COMPRESSORS:
        first = operator.value_codes[0]
        if operator.sparse:
            yield from (Setting(operator, first, density) for density in DENSITIES)
            yield from (Setting(operator, code, DENSITY) for code in operator.value_codes[1:])
        else:
            yield from (Setting(operator, first, count=count) for count in COUNTS.get(operator.counts, (0,)))


@final
@dataclass(frozen=True)
class Row:
    """What was found of one setting. None: does not apply, or is infinite."""

    name: str
    density: float | None  # kept share
    wire_bytes: int
    bytes_per_kept: float | None  # wire bytes / kept entries; sparse operators alone
    compression_factor: float | None  # float32 bytes / wire bytes
    error: float  # squared error / energy, on the synthetic gradient
    file_error: float | None  # the same on the gradient that was given
    encode_copies: float  # seconds / seconds of one copy of the tensor
    decode_copies: float
    encode_owed_copies: float


@final
@dataclass(frozen=True)
class _Case:
    """A setting on the tensor that times are taken on."""

    setting: Setting
    view: Tensor
    option: Option
    wire_bytes: int

    def density(self) -> float | None:
        if self.setting.operator.sparse:
            return self.setting.density
        return None if self.setting.operator.counts == "rank" else float(self.wire_bytes > 0)

    def kept(self) -> int:
        operator, n = self.setting.operator, self.view.numel()
        if not isinstance(operator, SparseCompressor):
            return 0
        return min(n, operator.units(n, self.option.k)[1] * operator.unit)

    def times(self, owed: Tensor, residual: Tensor, target: Tensor, room: Tensor) -> tuple[float, float, float]:
        """Seconds of encode, decode and encode_owed, once."""
        n, shape, option = self.view.numel(), self.view.shape, self.option
        values, own, sum_, frame = self.view.reshape(-1), residual[:n], target[:n], room[: self.wire_bytes]
        residual.copy_(owed)
        return (
            timed_s(lambda: encode(values, option, frame, shape=shape, key=KEY)),
            timed_s(lambda: decode(frame, sum_)),
            timed_s(lambda: encode_owed(own, values, option, frame, shape=shape, key=KEY)),
        )


def measure(values: Tensor, owed: Tensor, given: Sequence[Tensor], repeats: int) -> tuple[float, list[Row]]:
    """Median seconds of one copy, and a row a setting. `owed`: a residual; `given`: perhaps nothing."""
    cases = [_case(setting, values) for setting in settings()]
    copy_s, taken = _timings(cases, values, owed, repeats)
    rows = []
    for case, times in zip(cases, taken, strict=True):
        size, kept = case.wire_bytes, case.kept()
        rows.append(
            Row(
                case.setting.name,
                case.density(),
                size,
                size / kept if kept else None,
                4 * case.view.numel() / size if size else None,
                relative_error(case.setting, [case.view]),
                relative_error(case.setting, given) if applies(case.setting, given) else None,
                *(seconds / copy_s for seconds in times),
            )
        )
    return copy_s, rows


def _case(setting: Setting, values: Tensor) -> _Case:
    view = setting.view(values)
    option = setting.option(view)
    return _Case(setting, view, option, wire_bytes(view.shape, option))


def _timings(
    cases: Sequence[_Case], values: Tensor, owed: Tensor, repeats: int
) -> tuple[float, list[tuple[float, float, float]]]:
    """Medians in seconds: of a copy, and for each case of encode, decode and encode_owed, all taken in turn.

    There is one round more than `repeats`: the first one touches the memory and does not count.
    """
    room = torch.zeros(max(case.wire_bytes for case in cases), dtype=torch.uint8)
    residual, target = owed.clone(), values.clone()
    copies: list[float] = []
    taken: list[list[tuple[float, float, float]]] = [[] for _ in cases]
    for _ in range(repeats + 1):
        for case, times in zip(cases, taken, strict=True):
            copies.append(timed_s(lambda: np.copyto(target.numpy(), values.numpy())))
            times.append(case.times(owed, residual, target, room))
    encoding, decoding, owing = ([statistics.median(t[i] for t in times[1:]) for times in taken] for i in range(3))
    return statistics.median(copies[len(cases) :]), list(zip(encoding, decoding, owing, strict=True))


def applies(setting: Setting, tensors: Sequence[Tensor]) -> bool:
    """Whether there is a tensor to try it on; low rank needs a matrix."""
    if setting.operator.counts != "rank":
        return bool(tensors)
    return any(matrix_of(tensor.shape, setting.count)[2] for tensor in tensors)


def relative_error(setting: Setting, tensors: Sequence[Tensor]) -> float:
    """sum ||v - C(v)||^2 / sum ||v||^2 over tensors, each coded by itself."""
    lost = energy = 0.0
    for tensor in tensors:
        values = tensor.reshape(-1)
        option = setting.option(values)
        frame = torch.empty(wire_bytes(tensor.shape, option), dtype=torch.uint8)
        encode(values, option, frame, shape=tensor.shape, key=KEY)
        left = values.clone()
        decode(frame, left, -1.0)
        lost += _energy(left)
        energy += _energy(values)
    return lost / energy


def _energy(values: Tensor) -> float:
    return float(np.square(values.numpy(), dtype=np.float64).sum())


def timed_s(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began_s = time.perf_counter()
    function()
    return time.perf_counter() - began_s

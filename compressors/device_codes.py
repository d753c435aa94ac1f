"""The dense operators in torch: how values in blocks become scales and codes, and back, with the bits of numpy's code.

Elementwise operations of IEEE arithmetic have one result, on a CPU as on a CUDA device; what has several, the order of
a sum, is written out (`device_blocks.sums`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import float16
from kimad.compressors.blocks import BLOCK, LARGEST
from kimad.compressors.device_blocks import (
    Noise,
    divided,
    expand,
    inverse,
    largest,
    pack,
    pack_signed,
    rows_of,
    sums,
    times,
    unpack,
    unpack_signed,
    usable,
)

_MANTISSA = 23  # bits of a float32
_MAGNITUDE = 0x7FFFFFFF


class DeviceCode(ABC):
    """What one dense operator does with a piece that lies on a device."""

    word: torch.dtype = torch.uint8  # a code that may be infinite or NaN, as a whole number; bytes for all others

    @abstractmethod
    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Scales, (blocks,), and codes, uint8, of n finite values, (blocks, 256), with zeros behind them."""

    @abstractmethod
    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        """The n values, float32, of codes in aligned memory."""


def _stochastically(scaled: Tensor, noise: Noise) -> Tensor:
    return (scaled + noise.uniform()).floor_()


@final
class LinearCode(DeviceCode):
    """`linear.Linear`."""

    def __init__(self, bits: int, stochastic: bool) -> None:
        self._bits = bits
        self._stochastic = stochastic

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        top = float((1 << (self._bits - 1)) - 1)
        scales = usable(divided(largest(rows), top))
        work = times(rows, inverse(scales))
        work = _stochastically(work, noise) if self._stochastic else work.round_()
        return scales, pack_signed(work.clamp_(-top, top).view(-1)[:n], self._bits)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return expand(unpack_signed(codes, self._bits, n), scales)


@final
class QSGDCode(DeviceCode):
    """`qsgd.QSGD`."""

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        top = usable(largest(rows))
        work = times(rows, inverse(top))
        norm = (top.double() * sums(work * work).double().sqrt_()).clamp_(max=float(LARGEST))
        scales = usable(divided(norm, levels).to(torch.float32))
        work = _stochastically(times(rows, inverse(scales)), noise).clamp_(-levels, levels)
        return scales, pack_signed(work.view(-1)[:n], self._bits(levels))

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return expand(unpack_signed(codes, self._bits(levels), n), scales)

    def _bits(self, levels: int) -> int:
        return 2 if levels == 1 else 4 if levels <= 7 else 8


@final
class SignCode(DeviceCode):
    """`sign.Sign`."""

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        shares = torch.full((len(rows),), 1 / BLOCK, device=rows.device)
        if n % BLOCK:
            shares[-1] = float(np.float32(1) / np.float32(n % BLOCK))
        scales = usable(sums(times(rows.abs(), shares)))
        return scales, pack(torch.signbit(rows).view(-1)[:n].to(torch.uint8), 1)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return expand(unpack(codes, 1, n).to(torch.float32).mul_(-2).add_(1), scales)


@final
class TernaryCode(DeviceCode):
    """`ternary.Ternary`."""

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        scales = usable(largest(rows))
        work = _stochastically(times(rows, inverse(scales)), noise).clamp_(-1, 1).add_(1)
        digits = rows_of(work.view(-1)[:n].to(torch.uint8), 5, fill=1)
        codes = digits[:, 4].clone()
        for j in (3, 2, 1, 0):
            codes.mul_(3).add_(digits[:, j])
        return scales, codes

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        powers = torch.tensor([1, 3, 9, 27, 81], dtype=torch.int32, device=codes.device)
        digits = codes.to(torch.int32)[:, None] // powers % 3 - 1
        return expand(digits.view(-1)[:n].to(torch.float32), scales)


@final
class NaturalCode(DeviceCode):
    """`natural.Natural`, on bit patterns in int32."""

    _top = 247  # largest exponent field written

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        bits = rows.view(torch.int32) & _MAGNITUDE
        drawn = (noise.halves() << (_MANTISSA - 16)) + (1 << (_MANTISSA - 17))
        drawn.masked_fill_(bits < 1 << _MANTISSA, 0)
        exponents = ((bits + drawn) >> _MANTISSA).clamp_(max=self._top)
        top = exponents.amax(dim=1)
        number = (top + 1)[:, None] - exponents
        number.masked_fill_((exponents == 0) | (number > 127), 0)
        number |= torch.signbit(rows).to(torch.int32) << 7
        return (top << _MANTISSA).view(torch.float32), number.view(-1)[:n].to(torch.uint8)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        number = rows_of(codes, BLOCK).to(torch.int32)
        halvings = number & 127
        top = (scales.view(torch.int32) >> _MANTISSA) + 1
        bits = (top[:, None] - halvings).clamp_(min=0).masked_fill_(halvings == 0, 0) << _MANTISSA
        bits = torch.where(number > 127, bits | ~_MAGNITUDE, bits)
        return bits.view(torch.float32).view(-1)[:n]


@final
class Float16Code(DeviceCode):
    """`float16.Float16`."""

    word = torch.int16

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        limit = float(float16.LIMIT)
        top = largest(rows)
        exponents = (top.view(torch.int32) >> _MANTISSA) - 126  # those of frexp, and -126 for a denormal
        exponents.masked_fill_(top == 0, 0)
        scales = (((exponents - 15).clamp_(-126, 112) + 127) << _MANTISSA).view(torch.float32)
        work = times(rows.clamp(-limit, limit), inverse(scales)).view(-1)[:n]
        return scales, work.to(torch.float16).view(torch.uint8)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return expand(codes.view(torch.float16).to(torch.float32), scales)


@final
class BFloat16Code(DeviceCode):
    """`bfloat16.BFloat16`."""

    word = torch.int16

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        largest_finite = torch.finfo(torch.bfloat16).max
        rounded = rows.view(-1)[:n].clamp(-largest_finite, largest_finite).to(torch.bfloat16)
        return rows.new_empty(0), rounded.view(torch.uint8)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return codes.view(torch.bfloat16).to(torch.float32)


@final
class Float32Code(DeviceCode):
    """`float32.Float32`."""

    word = torch.int32

    def quantize(self, rows: Tensor, n: int, levels: int, noise: Noise) -> tuple[Tensor, Tensor]:
        return rows.new_empty(0), rows.view(-1)[:n].view(torch.uint8)

    def dequantize(self, codes: Tensor, scales: Tensor, n: int, levels: int) -> Tensor:
        return codes.view(torch.float32)


CODES: dict[str, DeviceCode] = {
    "sign": SignCode(),
    "ternary": TernaryCode(),
    "qsgd": QSGDCode(),
    "int4": LinearCode(4, stochastic=False),
    "int4-stochastic": LinearCode(4, stochastic=True),
    "natural": NaturalCode(),
    "int8": LinearCode(8, stochastic=False),
    "int8-stochastic": LinearCode(8, stochastic=True),
    "bfloat16": BFloat16Code(),
    "float16": Float16Code(),
    "float32": Float32Code(),
}

"""Blocks, packing and noise in torch, on any device: the same numbers as `blocks`, `packing` and `noise`, bit for bit.

Every function does the same float32 operations in the same order as its namesake in numpy. Two things are avoided
for that: division by a Python number, which CUDA does as multiplication by the reciprocal, and sums of a library's own
order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kimad.compressors import noise
from kimad.compressors.blocks import BLOCK, LARGEST
from kimad.compressors.errors import NonFiniteError
from kimad.compressors.scratch import chunks
from kimad.compressors.tensors import TINY


def rows_of(flat: Tensor, width: int, fill: float = 0) -> Tensor:
    """`flat` in rows of `width`, (rows, width), filled up behind its end; a view where there is nothing to fill."""
    missing = -flat.numel() % width
    return (F.pad(flat, (0, missing), value=fill) if missing else flat).view(-1, width)


def sums(rows: Tensor) -> Tensor:
    """The sum of each row, (rows,): the right half is added onto the left one until one column is left."""
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return rows[:, 0]


def largest(rows: Tensor) -> Tensor:
    """The largest magnitude of each block, (blocks,)."""
    return rows.abs().amax(dim=1)


def divided(numbers: Tensor, by: float) -> Tensor:
    """numbers / by, rounded once."""
    return numbers / torch.full_like(numbers, by)


def inverse(scales: Tensor) -> Tensor:
    """1 / s, and 0 for the scale 0."""
    return (torch.ones_like(scales) / scales).masked_fill(scales == 0, 0.0)


def usable(scales: Tensor) -> Tensor:
    """Scales that may be written: denormal ones become 0, those above LARGEST become LARGEST."""
    return scales.clamp(max=float(LARGEST)).masked_fill(scales < float(TINY), 0.0)


def times(rows: Tensor, factors: Tensor) -> Tensor:
    """Every value times the factor of its block, (blocks, 256)."""
    return rows * factors[:, None]


def expand(codes: Tensor, scales: Tensor) -> Tensor:
    """Every number times the scale of its block, (n,)."""
    return times(rows_of(codes, BLOCK), scales).view(-1)[: codes.numel()]


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Numbers below 2^bits, uint8, in `packing.packed_bytes` bytes."""
    if bits == 8:
        return numbers
    columns = rows_of(numbers, 8 // bits)
    packed = columns[:, 0].clone()
    for j in range(1, 8 // bits):
        packed |= columns[:, j] << (bits * j)
    return packed


def unpack(packed: Tensor, bits: int, k: int) -> Tensor:
    """The k numbers, uint8."""
    if bits == 8:
        return packed
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> shifts) & ((1 << bits) - 1)).view(-1)[:k]


def pack_signed(numbers: Tensor, bits: int) -> Tensor:
    """Whole float32 numbers of magnitude below 2^(bits - 1) in two's complement."""
    signed = numbers.to(torch.int8)
    return pack((signed if bits == 8 else signed & ((1 << bits) - 1)).view(torch.uint8), bits)


def unpack_signed(codes: Tensor, bits: int, n: int) -> Tensor:
    """float32 numbers as `pack_signed` writes them."""
    signed = unpack(codes, bits, n).view(torch.int8)
    if bits < 8:
        signed = (signed ^ (1 << (bits - 1))) - (1 << (bits - 1))
    return signed.to(torch.float32)


def add_scaled(target: Tensor, decoded: Tensor, scale: float) -> None:
    """target += scale * decoded, each operation rounded on its own."""
    if scale == 1.0:
        target.add_(decoded)
    elif scale == -1.0:
        target.sub_(decoded)
    else:
        target.add_(decoded * float(np.float32(scale)))


def check_finite(values: Tensor, name: str) -> None:
    """Raise NonFiniteError if NaN or infinity is among the values; one look at the device."""
    if values.numel():
        low, high = torch.stack(torch.aminmax(values)).tolist()  # both are NaN if any value is
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NonFiniteError(f"{name}: NaN or infinity among {values.numel()} values")


@final
@dataclass(frozen=True)
class Noise:
    """The random numbers of several pieces in a row; drawn on the CPU and copied, so that they are the same there."""

    key: int
    stream: int  # of the first piece
    chunk: int  # entries a piece
    n: int  # entries of all pieces
    device: torch.device

    def halves(self) -> Tensor:
        """Uniform numbers from 0 to 65535, int32, (blocks, 256); zeros behind the n-th."""
        drawn = np.zeros(-(-self.n // BLOCK) * BLOCK, np.uint16)
        for j, part in enumerate(chunks(self.n, self.chunk)):
            drawn[part] = noise.halves(self.key, self.stream + j, part.stop - part.start)
        signed = torch.from_numpy(drawn.view(np.int16)).to(self.device)  # torch has few operations on uint16
        return signed.to(torch.int32).bitwise_and_(0xFFFF).view(-1, BLOCK)

    def uniform(self) -> Tensor:
        """Uniform numbers (j + 1/2) / 65536, float32, (blocks, 256)."""
        return self.halves().to(torch.float32).add_(0.5).mul_(1 / 65536)

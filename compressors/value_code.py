"""How the kept values of a sparse frame are written: one interface, and all codes but the logarithmic one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np

from kimad.compressors import packing, sign
from kimad.compressors.bfloat16 import check_finite, from_bfloat16, round_to_bfloat16
from kimad.compressors.blocks import BLOCK, blocks_of, expand, inverse, largest, read_scales, times, usable
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.tensors import Bytes, Floats

_INT8 = np.float32(127)


class ValueCode(ABC):
    """A code for k float32 values."""

    name: str  # `Option.values`
    code: int  # its number on the wire, 0..255, never used again for another
    error: float  # expected squared error as a part of the kept energy
    worst: float  # what that error never exceeds, below 1

    @abstractmethod
    def body_bytes(self, k: int) -> int:
        """Exact size of k values; never less for more values."""

    @abstractmethod
    def encode(self, values: Floats, body: Bytes) -> None:
        """Write k >= 1 values to `body` of `body_bytes(k)` bytes. Raises NonFiniteError."""

    @abstractmethod
    def decode(self, body: Bytes, k: int) -> Floats:
        """Return k >= 1 finite values, the same bits on every machine; perhaps in scratch. Raises a FrameError."""


@final
class Float32Values(ValueCode):
    """The values as they are, 4 bytes each."""

    name = "float32"
    code = 1
    error = 0.0
    worst = 0.0

    def body_bytes(self, k: int) -> int:
        """4 k bytes."""
        return 4 * k

    def encode(self, values: Floats, body: Bytes) -> None:
        """Copy the values. Raises NonFiniteError."""
        if not np.isfinite(values).all():
            raise NonFiniteError(f"NaN or infinity among the {values.size} kept values")
        body.view("<f4")[:] = values

    def decode(self, body: Bytes, k: int) -> Floats:
        """Copy the values. Raises NonFiniteValues."""
        values = body.view("<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise NonFiniteValues(f"frame carries NaN or infinity among its {k} values")
        return values


@final
class BFloat16Values(ValueCode):
    """Mantissas of 8 bits, 2 bytes each."""

    name = "bfloat16"
    code = 4
    error = 2.7e-6
    worst = 2.0**-16

    def body_bytes(self, k: int) -> int:
        """2 k bytes."""
        return 2 * k

    def encode(self, values: Floats, body: Bytes) -> None:
        """Round the values. Raises NonFiniteError."""
        patterns = np.empty(values.size, np.uint16)
        round_to_bfloat16(np.ascontiguousarray(values), patterns)
        body.view("<u2")[:] = patterns

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the rounded values. Raises NonFiniteValues."""
        patterns = body.view("<u2")
        check_finite(patterns)
        values = np.empty(k, np.float32)
        from_bfloat16(patterns, values)
        return values


@final
class Int8Values(ValueCode):
    """Blocks of 256 with a float32 scale each, 1 + 1/64 bytes a value; see `linear`."""

    name = "int8"
    code = 2
    error = 5e-5
    worst = 0.004

    def body_bytes(self, k: int) -> int:
        """4 ceil(k / 256) + k bytes."""
        return 4 * blocks_of(k) + k

    def encode(self, values: Floats, body: Bytes) -> None:
        """Quantize the values. Raises NonFiniteError."""
        cut = 4 * blocks_of(values.size)
        scale = largest(values)
        np.divide(scale, _INT8, out=scale)
        body[:cut].view("<f4")[:] = usable(scale)
        work = times(values, inverse(scale))
        np.rint(work, out=work)
        np.clip(work, -_INT8, _INT8, out=work)
        np.copyto(body[cut:].view(np.int8), work, casting="unsafe")

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the quantized values. Raises NonFiniteScale."""
        scales = read_scales(body, k)
        values = body[4 * blocks_of(k) :].view(np.int8).astype(np.float32)
        expand(values, scales)
        return values


@final
class SignValues(ValueCode):
    """Signs, and the mean magnitude of every 256 values, 1/8 + 1/64 bytes a value; see `sign`."""

    name = "sign"
    code = 5
    error = 0.22
    worst = 1 - 1 / BLOCK

    def body_bytes(self, k: int) -> int:
        """4 ceil(k / 256) + ceil(k / 8) bytes."""
        return 4 * blocks_of(k) + packing.packed_bytes(k, 1)

    def encode(self, values: Floats, body: Bytes) -> None:
        """Write means and signs. Raises NonFiniteError."""
        cut = 4 * blocks_of(values.size)
        body[:cut].view("<f4")[:] = usable(sign.mean_magnitudes(values))
        sign.pack_signs(values, body[cut:])

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the means with their signs. Raises NonFiniteScale or TrailingBytes."""
        scales = read_scales(body, k)
        values = np.empty(k, np.float32)
        sign.unpack_signs(body[4 * blocks_of(k) :], values)
        expand(values, scales)
        return values

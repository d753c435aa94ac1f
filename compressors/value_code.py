"""How the kept values of a sparse frame are written: one interface, and float32 and int8."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np

from kimad.compressors import block_int8
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.tensors import Bytes, Floats


class ValueCode(ABC):
    """A code for k float32 values, none of them zero or denormal."""

    name: str  # `Option.values`
    code: int  # its number on the wire, 0..255, never used again for another
    error: float  # expected squared error as a part of the kept energy

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

    def body_bytes(self, k: int) -> int:
        """4 k bytes."""
        return 4 * k

    def encode(self, values: Floats, body: Bytes) -> None:
        """Copy the values. Raises NonFiniteError."""
        if not np.isfinite(values).all():
            raise NonFiniteError(f"topk: NaN or infinity among the {values.size} largest values")
        body.view("<f4")[:] = values

    def decode(self, body: Bytes, k: int) -> Floats:
        """Copy the values. Raises NonFiniteValues."""
        values = body.view("<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise NonFiniteValues(f"topk frame carries NaN or infinity among its {k} values")
        return values


@final
class Int8Values(ValueCode):
    """Blocks of 256 with a float32 scale each, 1 + 1/64 bytes a value; see `block_int8`."""

    name = "int8"
    code = 2
    error = 5e-5

    def body_bytes(self, k: int) -> int:
        """4 ceil(k / 256) + k bytes."""
        return block_int8.body_bytes(k)

    def encode(self, values: Floats, body: Bytes) -> None:
        """Quantize the values. Raises NonFiniteError."""
        block_int8.quantize(values, body)

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the quantized values. Raises NonFiniteScale."""
        return block_int8.dequantize(body, block_int8.scales_of(body, k), slice(0, k), k)

"""How the kept values of a sparse frame are written: one interface, and every dense operator as a code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np

from kimad.compressors.dense import DenseCompressor
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Floats


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
        """Return k >= 1 finite values, the same bits on every machine, in scratch memory. Raises a FrameError."""


@final
class DenseValues(ValueCode):
    """The kept values as a dense operator without levels and randomness writes them."""

    def __init__(self, operator: DenseCompressor, code: int, error: float, worst: float) -> None:
        self.name, self.code, self.error, self.worst = operator.name, code, error, worst
        self._operator = operator

    def body_bytes(self, k: int) -> int:
        return self._operator.entry_bytes(k, 0)

    def encode(self, values: Floats, body: Bytes) -> None:
        self._operator.write_entries(values, None, body, 0, 0)

    def decode(self, body: Bytes, k: int) -> Floats:
        values: Floats = SCRATCH.get("kept values", k, np.float32)
        values.fill(0)
        self._operator.add_entries(body, values, 0, 1.0)
        return values

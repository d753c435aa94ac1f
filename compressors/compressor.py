"""What every operator offers: tensor -> bytes -> tensor, with the size known beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors.option import Option


class ErrorCurve(Protocol):
    """Squared magnitudes of one layer, as far as a sample tells them."""

    @property
    def total(self) -> float:
        """Squared norm of the layer, ||v||^2."""

    def kept(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared norm of the k largest entries, for every k of the array."""


class Compressor(ABC):
    """A pure operator. It holds no state; randomness comes from `key`."""

    name: str  # the operator's name in options and on the command line
    code: int  # its number on the wire, 0..255, never used again for another
    value_codes: tuple[str, ...] = ("",)  # what `Option.values` may be
    sparse: bool = False  # whether `Option.k` means something

    @abstractmethod
    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """Exact length of the frame that `encode` writes for a tensor of this shape."""

    @abstractmethod
    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Write the frame of flat float32 `values` to the start of uint8 `out`; return its length."""

    @abstractmethod
    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add `scale` times what the frame carries to flat float32 `out`; check all of it before writing."""

    @abstractmethod
    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """Expected squared error, for every k of the array (dense operators: the same number for each)."""

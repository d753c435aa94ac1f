"""What every operator offers: tensor -> bytes -> tensor, with the size known beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import frame as framing
from kimad.compressors.errors import OptionError
from kimad.compressors.frame import HEADER_BYTES, Header
from kimad.compressors.option import Option
from kimad.compressors.tensors import Bytes, Floats, floats, frame_room


class ErrorCurve(Protocol):
    """Squared magnitudes of one layer, as far as a sample tells them."""

    @property
    def numel(self) -> int:
        """Entries of the layer."""

    @property
    def total(self) -> float:
        """Squared norm of the layer, ||v||^2."""

    def kept(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared norm of the k largest entries, for every k of the array."""


@final
@dataclass(frozen=True, slots=True)
class Promise:
    """How far an operator may be off: ||C(v) - v||^2 <= error ||v||^2, for every v."""

    error: float  # below 1 for a contraction
    expected: bool = False  # whether this is the mean over keys and not every single case
    unbiased: bool = False  # whether the mean of C(v) over keys is v


@final
@dataclass(frozen=True, slots=True)
class Call:
    """What one encoding is asked for, beside its values."""

    shape: tuple[int, ...]
    option: Option
    key: int = 0  # seed of the operator's randomness
    warm: Tensor | None = None  # the frame of this layer before this one; low rank starts from it


class Compressor(ABC):
    """A pure operator. It holds no state; randomness comes from `key`."""

    name: str  # the operator's name in options and on the command line
    code: int  # its number on the wire, 0..255, never used again for another
    counts: str = ""  # what `Option.k` counts: "entries", "levels", "rank", or "" for nothing
    value_codes: tuple[str, ...] = ("",)  # what `Option.values` may be
    warm: bool = False  # whether it starts from the layer's frame before
    header_bytes: int = HEADER_BYTES

    @property
    def sparse(self) -> bool:
        """Whether it keeps some entries only, `Option.k` of them at most."""
        return self.counts == "entries"

    @abstractmethod
    def body_bytes(self, shape: Sequence[int], option: Option) -> int:
        """Exact bytes behind the header for a tensor of this shape. Raises OptionError."""

    @abstractmethod
    def write(self, values: Floats, gradient: Floats | None, body: Bytes, call: Call) -> tuple[int, int, int]:
        """Write the body; return the header's value code, index code and count.

        With `gradient`, `values` is a residual: values += gradient first, and values -= what was written last.
        Raises NonFiniteError where NaN or infinity shows up.
        """

    @abstractmethod
    def read(self, header: Header, body: Bytes, target: Floats, scale: float) -> None:
        """target += scale * what the body carries, all of which is checked before. Raises a FrameError."""

    @abstractmethod
    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """Expected squared error, for every k of the array (where nothing is counted: the same number for each)."""

    @abstractmethod
    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """What holds for every tensor of this shape with magnitudes below 2^120.

        Apart from what counts as zero: entries below the smallest normal float32, and blocks whose scale is.
        """

    @final
    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """Exact length of the frame of a tensor of this shape. Raises OptionError."""
        return self.header_bytes + self.body_bytes(shape, option)

    @final
    def encode(self, values: Tensor, gradient: Tensor | None, out: Tensor, call: Call, size: int) -> int:
        """Write the frame of flat float32 `values`, of `size` bytes, to the start of uint8 `out`; return its length."""
        check_parameters(self, call.option)
        v = floats(values, "values")
        g = None if gradient is None else floats(gradient, "gradient")
        room = frame_room(out, size)
        value_code, index_code, count = self.write(v, g, room[self.header_bytes :], call)
        if self.header_bytes:
            framing.pack(Header(self.code, value_code, index_code, v.size, count), room)
        return room.size

    @final
    def decode(self, raw: Bytes, target: Floats, scale: float) -> None:
        """Add `scale` times what the frame carries to the target; check all of it before writing."""
        if self.header_bytes:
            header = framing.parse(raw, self.code, target.size)
        else:
            framing.check_length(raw.size, 0, 0)
            header = Header(self.code, 0, 0, target.size, 0)
        self.read(header, raw[self.header_bytes :], target, scale)


def check_parameters(operator: Compressor, option: Option) -> None:
    """Raise OptionError if an option has parameters that this operator does not take, or a k that is no integer."""
    if option.operator != operator.name:
        raise OptionError(f"option {option} was given to operator {operator.name!r}")
    try:
        index(option.k)
    except TypeError:
        raise OptionError(f"k is {option.k!r}, must be an integer") from None
    if option.values not in operator.value_codes:
        known = ", ".join(map(repr, operator.value_codes))
        raise OptionError(f"unknown value code {option.values!r} for {operator.name}, known are {known}")
    if option.k and not operator.counts:
        raise OptionError(f"{operator.name} takes no k, got k={option.k}")
    if option.threshold and operator.name != "threshold":
        raise OptionError(f"{operator.name} takes no threshold, got {option.threshold}")

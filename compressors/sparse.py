"""Operators that send some of the entries: which ones, and then indices and values in the smallest code.

    body: indices (`index_code`) | values (a `ValueCode`) | zeros

The size is planned for k entries. A tensor with fewer nonzero ones gives a shorter body and zeros behind it, so that
bytes on the wire follow from the plan alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
import torch

from kimad.compressors import index_code, kernels
from kimad.compressors.compressor import Call, Compressor, check_parameters
from kimad.compressors.errors import (
    BadIndexCode,
    CountTooLarge,
    FrameTooShort,
    OptionError,
    TrailingBytes,
    UnknownValueCode,
)
from kimad.compressors.frame import Header
from kimad.compressors.option import Option
from kimad.compressors.tensors import Bytes, Floats, Indices, numel
from kimad.compressors.value_code import ValueCode
from kimad.compressors.value_codes import ALL_VALUE_CODES

_BY_NAME = {code.name: code for code in ALL_VALUE_CODES}
_BY_NUMBER = {code.code: code for code in ALL_VALUE_CODES}


def value_code(name: str) -> ValueCode:
    """Return the value code of this name. Raises OptionError."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise OptionError(f"unknown value code {name!r}, known are {', '.join(_BY_NAME)}") from None


class SparseCompressor(Compressor):
    """Keeps `Option.k` entries at most. What an operator adds is which."""

    counts = "entries"
    value_codes = tuple(_BY_NAME)
    unit: int = 1  # entries that an index stands for
    fills: bool = True  # whether k entries are kept, zeros too, where k is all of them
    seeded: bool = False  # whether the places follow from the key, which is sent in place of indices

    @abstractmethod
    def choose(self, values: Floats, gradient: Floats | None, k: int, call: Call) -> tuple[Indices, Floats]:
        """Units to keep, increasing, and their values, `unit` for each, zeros behind the tensor's end.

        With `gradient`: values += gradient first. Raises NonFiniteError for NaN or infinity that it sees.
        """

    @final
    def units(self, n: int, k: int) -> tuple[int, int]:
        """How many units a tensor has, and how many of them k entries fill."""
        total = -(-n // self.unit)
        return total, total if k >= n else k // self.unit

    def _index_code(self, n: int, k: int) -> int:
        return index_code.SEEDED if self.seeded else index_code.best(n, k, self.fills) if k else 0

    def _sizes(self, n: int, k: int, number: int, code: ValueCode) -> tuple[int, int]:
        """Bytes of the indices of k units among n, and of their values."""
        return index_code.body_bytes(n, k, number), code.body_bytes(k * self.unit) if k else 0

    @final
    def body_bytes(self, shape: Sequence[int], option: Option) -> int:
        check_parameters(self, option)
        n = numel(shape)
        if n > index_code.MAX_N:
            raise OptionError(f"{self.name} of a tensor with {n} entries, indices reach {index_code.MAX_N}")
        if not 0 <= option.k <= n:
            raise OptionError(f"k is {option.k}, must be from 0 to the tensor's {n} entries")
        if not 0 <= option.threshold <= float(np.finfo(np.float32).max):
            raise OptionError(f"threshold is {option.threshold}, must be 0 or above, and finite")
        total, k = self.units(n, option.k)
        return sum(self._sizes(total, k, self._index_code(total, k), value_code(option.values)))

    @final
    def write(self, values: Floats, gradient: Floats | None, body: Bytes, call: Call) -> tuple[int, int, int]:
        total, k = self.units(values.size, call.option.k)
        code, number = value_code(call.option.values), self._index_code(total, k)
        if k == 0:
            if gradient is not None:
                np.add(values, gradient, out=values)
            return code.code, number, 0
        indices, kept = self.choose(values, gradient, k, call)
        count, end = indices.size, 0
        if count:
            index_bytes, value_bytes = self._sizes(total, count, number, code)
            end = index_bytes + value_bytes
            index_code.encode(indices, total, number, call.key, body[:index_bytes])
            code.encode(kept, body[index_bytes:end])
            if gradient is not None:
                self._add(values, indices, code.decode(body[index_bytes:end], kept.size), np.float32(-1))
        body[end:] = 0
        return code.code, number, count

    @final
    def read(self, header: Header, body: Bytes, target: Floats, scale: float) -> None:
        indices, kept = self.carried(header, body, target.size)
        if indices.size:
            self._add(target, indices, kept, np.float32(scale))

    @final
    def carried(self, header: Header, body: Bytes, n: int) -> tuple[Indices, Floats]:
        """Units and their values, perhaps in scratch memory; all of it is checked. Raises a FrameError."""
        count, number = header.entries, header.index_code
        total, _ = self.units(n, 0)
        code = _BY_NUMBER.get(header.value_code)
        if code is None:
            raise UnknownValueCode(f"value code number {header.value_code}, known are {sorted(_BY_NUMBER)}")
        if self.seeded != (number == index_code.SEEDED):
            raise BadIndexCode(f"index code {number} in a frame of {self.name}")
        if count > total:
            raise CountTooLarge(f"frame announces {count} blocks of a tensor that has {total}")
        index_code.check(total, count, number)
        index_bytes, value_bytes = self._sizes(total, count, number, code)
        end = index_bytes + value_bytes
        if body.size < end:
            raise FrameTooShort(f"body of {body.size} bytes: {count} entries need {end}")
        if body.size > end and body[end:].any():
            raise TrailingBytes(f"the {body.size - end} bytes behind {count} entries are not all zero")
        if not count:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        indices = index_code.decode(body[:index_bytes], total, count, number)
        return indices, code.decode(body[index_bytes:end], count * self.unit)

    def _add(self, target: Floats, indices: Indices, decoded: Floats, scale: np.float32) -> None:
        """target[places] += scale * decoded; right because places are unique. `decoded` may be overwritten."""
        if self.unit == 1 and kernels.compiled():
            kernels.add_at(target, indices, decoded, float(scale))
            return
        if scale != 1:
            decoded = np.multiply(decoded, scale, out=decoded)  # before the sum, so that no FMA can join them
        if self.unit == 1:
            # unlike target[indices] += decoded, torch makes no copy of the kept entries
            torch.from_numpy(target).index_add_(0, torch.from_numpy(indices), torch.from_numpy(decoded))
            return
        whole = target.size // self.unit
        rows = decoded.reshape(-1, self.unit)
        if indices.size and indices[-1] == whole:  # the last unit is not full
            end = target[whole * self.unit :]
            end += rows[-1, : end.size]
            indices, rows = indices[:-1], rows[:-1]
        target[: whole * self.unit].reshape(-1, self.unit)[indices] += rows

"""The k entries of largest magnitude; everything else stays in the residual.

Top-k sparsification with memory: Stich, Cordonnier, Jaggi, arXiv:1809.07599.

    frame: header | indices (`elias_fano`) | values (a `ValueCode`) | zeros

The size is planned for k entries. A tensor with fewer nonzero ones gives a shorter body and zeros behind it, so that
bytes on the wire follow from the plan alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import elias_fano
from kimad.compressors import frame as framing
from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.errors import BadLowBits, FrameTooShort, OptionError, TrailingBytes, UnknownValueCode
from kimad.compressors.log4 import Log4Values
from kimad.compressors.option import Option
from kimad.compressors.select import select
from kimad.compressors.size import kept, numel
from kimad.compressors.tensors import floats, frame_bytes, frame_room
from kimad.compressors.value_code import Float32Values, Int8Values, ValueCode

ALL_VALUE_CODES: tuple[ValueCode, ...] = (Log4Values(), Int8Values(), Float32Values())

_BY_NAME = {code.name: code for code in ALL_VALUE_CODES}
_BY_NUMBER = {code.code: code for code in ALL_VALUE_CODES}


def value_code(name: str) -> ValueCode:
    """Return the value code of this name. Raises OptionError."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise OptionError(f"unknown value code {name!r} for topk, known are {', '.join(_BY_NAME)}") from None


def _body_bytes(n: int, k: int, low_bits: int, code: ValueCode) -> int:
    return elias_fano.body_bytes(n, k, low_bits) + code.body_bytes(k) if k else 0


@final
class TopK(Compressor):
    """C(v)_i = v_i, in the chosen value code, for the k largest |v_i|, else 0; equal magnitudes: lowest index first."""

    name = "topk"
    code = 4
    value_codes = tuple(_BY_NAME)
    sparse = True

    def _plan(self, shape: Sequence[int], option: Option) -> tuple[int, int, ValueCode]:
        n = numel(shape)
        if option.operator != self.name:
            raise OptionError(f"option {option} was given to operator {self.name!r}")
        if n > elias_fano.MAX_N:
            raise OptionError(f"topk of a tensor with {n} entries, indices reach {elias_fano.MAX_N}")
        return n, kept(option, n), value_code(option.values)

    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """16 bytes, and for k > 0 indices and k values, whatever the data. Raises OptionError."""
        n, k, code = self._plan(shape, option)
        return framing.HEADER_BYTES + _body_bytes(n, k, elias_fano.best_low_bits(n, k), code)

    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Write the k largest entries that are not zero. Raises OptionError, TensorError or NonFiniteError."""
        v = floats(values, "values")
        n, k, code = self._plan(shape, option)
        low_bits = elias_fano.best_low_bits(n, k)
        room = frame_room(out, framing.HEADER_BYTES + _body_bytes(n, k, low_bits, code))
        cut = end = framing.HEADER_BYTES
        count = 0
        if k:
            indices, largest = select(v, k, key)
            count = indices.size
        if count:
            cut += elias_fano.body_bytes(n, count, low_bits)
            end = cut + code.body_bytes(count)
            elias_fano.encode(indices, n, low_bits, room[framing.HEADER_BYTES : cut])
            code.encode(largest, room[cut:end])
        framing.pack(framing.Header(self.code, code.code, low_bits, n, count), room)
        if end < room.size:
            room[end:] = 0
        return room.size

    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add the entries. Raises FrameError or TensorError."""
        target = floats(out, "out")
        n = target.size
        raw = frame_bytes(frame)
        header = framing.parse(raw, self.code, n)
        count, low_bits = header.entries, header.low_bits
        code = _BY_NUMBER.get(header.value_code)
        if code is None:
            raise UnknownValueCode(f"value code number {header.value_code}, known are {sorted(_BY_NUMBER)}")
        if low_bits not in elias_fano.LOW_BITS:
            raise BadLowBits(f"{low_bits} low bits, allowed are {elias_fano.LOW_BITS}")
        start = framing.HEADER_BYTES
        cut = start + elias_fano.body_bytes(n, count, low_bits)
        end = start + _body_bytes(n, count, low_bits, code)
        if raw.size < end:
            raise FrameTooShort(f"frame of {raw.size} bytes: {count} entries need {end}")
        if raw.size > end and raw[end:].any():
            raise TrailingBytes(f"the {raw.size - end} bytes behind {count} entries are not all zero")
        if not count:
            return
        indices = elias_fano.decode(raw[start:cut], n, count, low_bits)
        decoded = code.decode(raw[cut:end], count)
        if scale != 1.0:
            np.multiply(decoded, np.float32(scale), out=decoded)  # before the sum, so that no FMA can join them
        target[indices] += decoded  # right because indices are unique, which was checked

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """||v||^2 - (1 - rho) ||v_k||^2, rho the value code's own error. Raises OptionError."""
        return curve.total - (1 - value_code(values).error) * curve.kept(k)

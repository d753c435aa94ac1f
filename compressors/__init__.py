"""Gradient compressors: pure operators from a tensor to bytes and back.

Three functions carry all traffic:

    size = wire_bytes(shape, option)                      # exact, before anything is encoded
    used = encode(values, option, out, shape=shape, key=0)
    decode(out[:used], target, scale=1.0)                 # adds; raises FrameError on damaged input
"""

from __future__ import annotations

if __name__ != "kimad.compressors":
    raise ImportError("this package is imported as kimad.compressors, not as a top-level package")

from collections.abc import Sequence

from torch import Tensor

from kimad.compressors import frame as _frame
from kimad.compressors import size as _size
from kimad.compressors import tensors as _tensors
from kimad.compressors.bfloat16 import BFloat16
from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.drop import Drop
from kimad.compressors.errors import FrameError, NonFiniteError, OptionError, TensorError, UnknownCodec
from kimad.compressors.float32 import Float32
from kimad.compressors.int8 import Int8
from kimad.compressors.option import Option
from kimad.compressors.topk import ALL_VALUE_CODES, TopK

__all__ = [
    "ALL_COMPRESSORS",
    "ALL_VALUE_CODES",
    "Compressor",
    "ErrorCurve",
    "FrameError",
    "NonFiniteError",
    "Option",
    "OptionError",
    "TensorError",
    "compressor",
    "compressor_by_code",
    "decode",
    "encode",
    "wire_bytes",
]

# A new operator is one more entry here (a new value code: one in `topk.ALL_VALUE_CODES`); lookups and tests go over it.
ALL_COMPRESSORS: tuple[Compressor, ...] = (Drop(), TopK(), Int8(), BFloat16(), Float32())

_BY_NAME = {operator.name: operator for operator in ALL_COMPRESSORS}
_BY_NUMBER = {operator.code: operator for operator in ALL_COMPRESSORS}
if len(_BY_NAME) != len(ALL_COMPRESSORS) or len(_BY_NUMBER) != len(ALL_COMPRESSORS):
    raise ImportError("two compressors share a name or a number")


def compressor(name: str) -> Compressor:
    """Return the operator of this name. Raises OptionError."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise OptionError(f"unknown operator {name!r}, known are {', '.join(_BY_NAME)}") from None


def compressor_by_code(code: int) -> Compressor:
    """Return the operator with this number on the wire. Raises UnknownCodec."""
    try:
        return _BY_NUMBER[code]
    except KeyError:
        raise UnknownCodec(f"unknown operator number {code}, known are {sorted(_BY_NUMBER)}") from None


def wire_bytes(shape: Sequence[int], option: Option) -> int:
    """Exact bytes of the frame of a tensor of this shape, whatever its values. Raises OptionError."""
    return compressor(option.operator).wire_bytes(shape, option)


def encode(values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int] | None = None, key: int = 0) -> int:
    """Write the frame of `values` to the start of `out`; return its length, always `wire_bytes(shape, option)`.

    values: float32, flat, contiguous, cpu, finite; not changed. out: uint8, flat, contiguous, cpu, long enough.
    shape: the tensor's shape, for operators that use it (default: flat). key: seed of an operator's randomness.
    Raises OptionError, TensorError, or NonFiniteError where NaN or infinity shows up.
    """
    operator = compressor(option.operator)
    if shape is None:
        shape = values.shape
    elif _size.numel(shape) != values.numel():
        raise TensorError(f"values has {values.numel()} entries, shape {tuple(shape)} has {_size.numel(shape)}")
    return operator.encode(values, option, out, shape=shape, key=key)


def decode(frame: Tensor, out: Tensor, scale: float = 1.0) -> None:
    """out += scale * what the frame carries; an empty frame carries nothing.

    The decoded values are the same bits on every machine, so `scale=-1.0` on the own frame leaves exactly the residual.
    frame: uint8, flat, contiguous, cpu. out: float32, flat, contiguous, cpu.
    Everything is checked before the first write. Raises FrameError (one subclass a cause) or TensorError.
    """
    raw = _tensors.frame_bytes(frame)
    number = _frame.codec_of(raw) if raw.size else 0
    operator = _BY_NUMBER.get(number)
    if operator is None:
        raise UnknownCodec(f"frame of operator number {number}, known are {sorted(_BY_NUMBER)}")
    operator.decode(frame, out, scale)

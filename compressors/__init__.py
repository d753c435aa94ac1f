"""Gradient compressors: pure operators from a tensor to bytes and back.

Four functions carry all traffic:

    size = wire_bytes(shape, option)                      # exact, before anything is encoded
    used = encode(values, option, out, shape=shape, key=0)
    decode(out[:used], target, scale=1.0)                 # adds; raises FrameError on damaged input
    used = encode_owed(residual, gradient, option, out)   # residual += gradient; encode; residual -= what was sent
"""

from __future__ import annotations

if __name__ != "kimad.compressors":
    raise ImportError("this package is imported as kimad.compressors, not as a top-level package")

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor

from kimad.compressors import device as _device
from kimad.compressors import frame as _frame
from kimad.compressors import kernels as _kernels
from kimad.compressors import tensors as _tensors
from kimad.compressors.bfloat16 import BFloat16
from kimad.compressors.blocks import LARGEST
from kimad.compressors.blocktopk import BlockTopK
from kimad.compressors.compressor import Call, Compressor, ErrorCurve, Promise
from kimad.compressors.drop import Drop
from kimad.compressors.errors import FrameError, NonFiniteError, OptionError, TensorError, UnknownCodec
from kimad.compressors.float16 import Float16
from kimad.compressors.float32 import Float32
from kimad.compressors.linear import Linear
from kimad.compressors.log4 import LEVELS
from kimad.compressors.lowrank import LowRank
from kimad.compressors.natural import Natural
from kimad.compressors.option import Option
from kimad.compressors.qsgd import QSGD
from kimad.compressors.randomk import RandomK
from kimad.compressors.sign import Sign
from kimad.compressors.ternary import Ternary
from kimad.compressors.threshold import Threshold
from kimad.compressors.topk import TopK
from kimad.compressors.value_codes import ALL_VALUE_CODES

__all__ = [
    "ALL_COMPRESSORS",
    "ALL_VALUE_CODES",
    "Compressor",
    "ErrorCurve",
    "FrameError",
    "NonFiniteError",
    "Option",
    "OptionError",
    "Promise",
    "TensorError",
    "compressor",
    "compressor_by_code",
    "damping",
    "decode",
    "encode",
    "encode_owed",
    "wire_bytes",
]

# A new operator is one more entry here (a new value code: one in `value_codes`); lookups, property tests and
# `kimad bench codecs` go over it.
ALL_COMPRESSORS: tuple[Compressor, ...] = (
    Drop(),
    TopK(),
    RandomK(),
    Threshold(),
    BlockTopK(),
    LowRank(),
    Sign(),
    Ternary(),
    QSGD(),
    Linear(4, stochastic=False, code=14),
    Linear(4, stochastic=True, code=15),
    Natural(),
    Linear(8, stochastic=False, code=3),
    Linear(8, stochastic=True, code=16),
    BFloat16(),
    Float16(),
    Float32(),
)

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
    return _wire_bytes(tuple(shape), option)


def damping(shape: Sequence[int], option: Option) -> float:
    """What decoded values are multiplied by under error feedback: 1 where the operator is a contraction.

    An unbiased operator with error >= 1 is none: the residual would grow for ever. 1 / (1 + error) times it is one
    (Beznosikov et al., arXiv:2002.12410). Raises OptionError.
    """
    return _damping(tuple(shape), option)


@lru_cache(maxsize=1 << 16)
def _wire_bytes(shape: tuple[int, ...], option: Option) -> int:
    return compressor(option.operator).wire_bytes(shape, option)


@lru_cache(maxsize=1 << 12)
def _damping(shape: tuple[int, ...], option: Option) -> float:
    promise = compressor(option.operator).promise(shape, option)
    return 1 / (1 + promise.error) if promise.unbiased and promise.error >= 1 else 1.0


def encode(
    values: Tensor,
    option: Option,
    out: Tensor,
    *,
    shape: Sequence[int] | None = None,
    key: int = 0,
    warm: Tensor | None = None,
) -> int:
    """Write the frame of `values` to the start of `out`; return its length, always `wire_bytes(shape, option)`.

    values: float32, flat, contiguous, finite; not changed. out: uint8, flat, contiguous, long enough. Both are on the
    CPU or on one CUDA device (`device`).
    shape: the tensor's shape, for operators that use it (default: flat). key: seed of an operator's randomness.
    warm: this layer's frame before this one, from which low rank starts; others do not need it.
    Raises OptionError, TensorError, or NonFiniteError where NaN or infinity shows up.
    """
    return _encode(values, None, option, out, shape, key, warm)


def encode_owed(
    residual: Tensor,
    gradient: Tensor,
    option: Option,
    out: Tensor,
    *,
    shape: Sequence[int] | None = None,
    key: int = 0,
    warm: Tensor | None = None,
) -> int:
    """residual += gradient; encode the residual as `encode` does; residual -= decode(frame). Returns the length.

    The same bits as the three steps one by one, in fewer passes over memory. After a NonFiniteError the residual holds
    the gradient, or a part of it: check gradients before, if the residual must survive.
    """
    if residual.shape != gradient.shape:
        raise TensorError(f"residual has shape {tuple(residual.shape)}, gradient {tuple(gradient.shape)}")
    return _encode(residual, gradient, option, out, shape, key, warm)


def _encode(
    values: Tensor, gradient: Tensor | None, option: Option, out: Tensor, shape: Sequence[int] | None, key: int,
    warm: Tensor | None,
) -> int:  # fmt: skip
    operator = compressor(option.operator)
    if shape is None:
        shape = values.shape
    elif _tensors.numel(shape) != values.numel():
        raise TensorError(f"values has {values.numel()} entries, shape {tuple(shape)} has {_tensors.numel(shape)}")
    call = Call(tuple(shape), option, key, warm)
    if isinstance(values, Tensor) and values.is_cuda:
        return _device.encode(operator, values, gradient, out, call)
    return operator.encode(values, gradient, out, call, _wire_bytes(call.shape, option))


def decode(frame: Tensor, out: Tensor, scale: float = 1.0) -> None:
    """out += scale * what the frame carries; an empty frame carries nothing.

    The decoded values are the same bits on every machine, so `scale=-1.0` on the own frame leaves exactly the residual.
    frame: uint8, flat, contiguous. out: float32, flat, contiguous. Both are on the CPU or on one CUDA device.
    Everything is checked before the first write. Raises FrameError (one subclass a cause) or TensorError.
    """
    if isinstance(out, Tensor) and out.is_cuda:
        _device.decode(_operator_of(_device.head(frame, out.device)), frame, out, scale)
        return
    target, raw = _tensors.floats(out, "out"), _tensors.frame_bytes(frame)
    if _kernels.compiled() and _kernels.add_frame(raw, target, scale, float(LARGEST), LEVELS):
        return
    _operator_of(raw).decode(raw, target, scale)


def _operator_of(raw: _tensors.Bytes) -> Compressor:
    number = _frame.codec_of(raw) if raw.size else 0
    operator = _BY_NUMBER.get(number)
    if operator is None:
        raise UnknownCodec(f"frame of operator number {number}, known are {sorted(_BY_NUMBER)}")
    return operator

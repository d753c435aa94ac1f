"""One layer to its frame and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kimad.compressors import device, kernels, tensors
from kimad.compressors import frame as framing
from kimad.compressors.blocks import LARGEST
from kimad.compressors.compressor import Call, Compressor
from kimad.compressors.errors import TensorError
from kimad.compressors.log4 import LEVELS
from kimad.compressors.operators import compressor, compressor_by_code, wire_bytes
from kimad.compressors.option import Option


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
    elif tensors.numel(shape) != values.numel():
        raise TensorError(f"values has {values.numel()} entries, shape {tuple(shape)} has {tensors.numel(shape)}")
    call = Call(tuple(shape), option, key, warm)
    if isinstance(values, Tensor) and values.is_cuda:
        return device.encode(operator, values, gradient, out, call)
    return operator.encode(values, gradient, out, call, wire_bytes(call.shape, option))


def decode(frame: Tensor, out: Tensor, scale: float = 1.0) -> None:
    """out += scale * what the frame carries; an empty frame carries nothing.

    The decoded values are the same bits on every machine, so `scale=-1.0` on the own frame leaves exactly the residual.
    frame: uint8, flat, contiguous. out: float32, flat, contiguous. Both are on the CPU or on one CUDA device.
    Everything is checked before the first write. Raises FrameError (one subclass a cause) or TensorError.
    """
    if isinstance(out, Tensor) and out.is_cuda:
        device.decode(_operator_of(device.head(frame, out.device)), frame, out, scale)
        return
    target, raw = tensors.floats(out, "out"), tensors.frame_bytes(frame)
    if kernels.compiled() and kernels.add_frame(raw, target, scale, float(LARGEST), LEVELS):
        return
    _operator_of(raw).decode(raw, target, scale)


def _operator_of(raw: tensors.Bytes) -> Compressor:
    return compressor_by_code(framing.codec_of(raw) if raw.size else 0)

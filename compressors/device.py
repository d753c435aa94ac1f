"""Tensors on a CUDA device: the same frames, written and read by torch on the device.

Operators keep one law on every device: the same bytes from the same values, and the same bits from the same bytes.
(The one exception are the frames, not the decoding, of `lowrank`.) Noise and random places are drawn on the CPU and
copied. All of it runs on CPU tensors too, where numpy in cache is faster; that is how it is tested without a device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import device_codes, device_dense, device_lowrank, device_sparse
from kimad.compressors import frame as framing
from kimad.compressors.compressor import Call, Compressor
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.drop import Drop
from kimad.compressors.errors import TensorError
from kimad.compressors.frame import HEADER_BYTES, Header
from kimad.compressors.lowrank import LowRank
from kimad.compressors.sparse import SparseCompressor
from kimad.compressors.tensors import Bytes, flat


def head(frame: Tensor, device: torch.device) -> Bytes:
    """The first bytes of a frame on this device, copied to the CPU. Raises TensorError."""
    first: Bytes = flat(frame, torch.uint8, "frame", device)[:HEADER_BYTES].cpu().numpy()
    return first


def encode(operator: Compressor, values: Tensor, gradient: Tensor | None, out: Tensor, call: Call) -> int:
    """What `Compressor.encode` does, with all tensors on the device of `values`."""
    device = values.device
    v = flat(values, torch.float32, "values", device)
    g = None if gradient is None else flat(gradient, torch.float32, "gradient", device)
    room = flat(out, torch.uint8, "out", device)
    size = operator.wire_bytes(call.shape, call.option)
    if room.numel() < size:
        raise TensorError(f"out has {room.numel()} bytes, the frame needs {size}")
    value_code, index_code, count = _write(operator, v, g, room[operator.header_bytes : size], call)
    if operator.header_bytes:
        header = np.empty(HEADER_BYTES, np.uint8)
        framing.pack(Header(operator.code, value_code, index_code, v.numel(), count), header)
        room[:HEADER_BYTES].copy_(torch.from_numpy(header))
    return size


def decode(operator: Compressor, frame: Tensor, out: Tensor, scale: float) -> None:
    """What `Compressor.decode` does, with all tensors on the device of `out`."""
    target = flat(out, torch.float32, "out", out.device)
    raw = flat(frame, torch.uint8, "frame", out.device)
    if not operator.header_bytes:
        operator.decode(raw.cpu().numpy(), np.empty(0, np.float32), scale)  # refuses bytes where none belong
        return
    header = framing.parse(head(raw, out.device), operator.code, target.numel())
    _read(operator, header, raw[HEADER_BYTES:], target, scale)


def _write(
    operator: Compressor, values: Tensor, gradient: Tensor | None, body: Tensor, call: Call
) -> tuple[int, int, int]:
    if isinstance(operator, DenseCompressor) and operator.name in device_codes.CODES:
        return device_dense.write(operator, values, gradient, body, call)
    if isinstance(operator, SparseCompressor) and operator.name in device_sparse.CHOOSERS:
        return device_sparse.write(operator, values, gradient, body, call)
    if isinstance(operator, LowRank):
        return device_lowrank.write(operator, values, gradient, body, call)
    if isinstance(operator, Drop):
        if gradient is not None:
            values.add_(gradient)
        return 0, 0, 0
    # Without torch code of its own, an operator works on copies on the CPU.
    v = values.to("cpu", copy=True)
    room = np.empty(body.numel(), np.uint8)
    g = None if gradient is None else gradient.cpu().numpy()
    try:
        result = operator.write(v.numpy(), g, room, call)
    finally:
        if gradient is not None:
            values.copy_(v)
    body.copy_(torch.from_numpy(room))
    return result


def _read(operator: Compressor, header: Header, body: Tensor, target: Tensor, scale: float) -> None:
    if isinstance(operator, DenseCompressor) and operator.name in device_codes.CODES:
        device_dense.read(operator, header, body, target, scale)
    elif isinstance(operator, SparseCompressor):
        device_sparse.read(operator, header, body, target, scale)
    elif isinstance(operator, LowRank):
        device_lowrank.read(operator, header, body, target, scale)
    else:
        result = target.to("cpu", copy=True)
        operator.read(header, body.cpu().numpy(), result.numpy(), scale)
        target.copy_(result)

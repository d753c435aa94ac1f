"""Every entry in 8 bits, scaled by the largest of its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import block_int8
from kimad.compressors import frame as framing
from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.option import Option
from kimad.compressors.scratch import add_scaled, chunks
from kimad.compressors.size import dense_numel
from kimad.compressors.tensors import floats, frame_bytes, frame_room


@final
class Int8(Compressor):
    """C(v)_i = s_b round(v_i / s_b), s_b = max |v| / 127 over blocks of 256; see `block_int8`."""

    name = "int8"
    code = 3

    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """16 + 4 ceil(n / 256) + n bytes. Raises OptionError."""
        return framing.HEADER_BYTES + block_int8.body_bytes(dense_numel(shape, option, self.name))

    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Quantize the values. Raises OptionError, TensorError or NonFiniteError."""
        v = floats(values, "values")
        room = frame_room(out, self.wire_bytes(shape, option))
        framing.pack(framing.Header(self.code, 0, 0, v.size, v.size), room)
        block_int8.quantize(v, room[framing.HEADER_BYTES :])
        return room.size

    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add the quantized values. Raises FrameError or TensorError."""
        target = floats(out, "out")
        n = target.size
        body = framing.parse_dense(frame_bytes(frame), self.code, n, block_int8.body_bytes(n))
        scales = block_int8.scales_of(body, n)
        for part in chunks(n):
            add_scaled(target[part], block_int8.dequantize(body, scales, part, n), scale)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """8e-5 of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 8e-5 * curve.total, np.float64)

"""Every entry with its mantissa rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import frame as framing
from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH, add_scaled, chunks
from kimad.compressors.size import dense_numel
from kimad.compressors.tensors import floats, frame_bytes, frame_room

# From 32768 entries on torch opens a parallel region, which stalls when ranks share cores.
_CHUNK = 32767 // 64 * 64
_MAGNITUDE = np.uint16(0x7FFF)
_INFINITY = np.uint16(0x7F80)  # this pattern or above: infinity or NaN
_LARGEST = np.uint16(0x7F7F)


def _largest(patterns: NDArray[np.uint16]) -> int:
    """Largest magnitude among bfloat16 bit patterns; their order is that of the numbers."""
    magnitude = SCRATCH.get("bfloat16 magnitude", patterns.size, np.uint16)
    return int(np.bitwise_and(patterns, _MAGNITUDE, out=magnitude).max())


@final
class BFloat16(Compressor):
    """C(v) = v rounded to the nearest bfloat16, ties to even; beyond the largest finite one, that one."""

    name = "bfloat16"
    code = 2

    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """16 + 2 n bytes. Raises OptionError."""
        return framing.HEADER_BYTES + 2 * dense_numel(shape, option, self.name)

    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Round the values. Raises OptionError, TensorError or NonFiniteError."""
        v = floats(values, "values")
        room = frame_room(out, self.wire_bytes(shape, option))
        framing.pack(framing.Header(self.code, 0, 0, v.size, v.size), room)
        body = room[framing.HEADER_BYTES :].view("<u2")
        source = values.detach()
        for part in chunks(v.size, _CHUNK):
            patterns = SCRATCH.get("bfloat16", part.stop - part.start, np.uint16)
            # numpy has no bfloat16; the scratch is a frame's worth of aligned memory that torch can view as one
            torch.from_numpy(patterns).view(torch.bfloat16).copy_(source[part])
            if _largest(patterns) >= _INFINITY:
                if not np.isfinite(v[part]).all():
                    raise NonFiniteError(f"bfloat16: NaN or infinity among values {part.start} to {part.stop}")
                overflow = (patterns & _MAGNITUDE) >= _INFINITY
                patterns[overflow] = (patterns[overflow] & ~_MAGNITUDE) | _LARGEST  # or the residual becomes infinite
            body[part] = patterns
        return room.size

    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add the rounded values. Raises FrameError or TensorError."""
        target = floats(out, "out")
        n = target.size
        body = framing.parse_dense(frame_bytes(frame), self.code, n, 2 * n).view("<u2")
        if any(_largest(body[part]) >= _INFINITY for part in chunks(n)):
            raise NonFiniteValues(f"bfloat16 frame carries NaN or infinity among its {n} values")
        for part in chunks(n):
            bits = SCRATCH.get("bfloat16 bits", part.stop - part.start, np.uint32)
            np.copyto(bits, body[part])
            np.left_shift(bits, 16, out=bits)
            add_scaled(target[part], bits.view(np.float32), scale)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """2.7e-6 of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 2.7e-6 * curve.total, np.float64)

"""Every entry as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import frame as framing
from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH, add_scaled, all_finite, chunks
from kimad.compressors.size import dense_numel
from kimad.compressors.tensors import floats, frame_bytes, frame_room


@final
class Float32(Compressor):
    """C(v) = v, 4 n bytes behind the header."""

    name = "float32"
    code = 1

    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """16 + 4 n bytes. Raises OptionError."""
        return framing.HEADER_BYTES + 4 * dense_numel(shape, option, self.name)

    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Copy the values. Raises OptionError, TensorError or NonFiniteError."""
        v = floats(values, "values")
        room = frame_room(out, self.wire_bytes(shape, option))
        if not all_finite(v):
            raise NonFiniteError(f"float32: NaN or infinity among {v.size} values, only finite ones can be sent")
        framing.pack(framing.Header(self.code, 0, 0, v.size, v.size), room)
        room[framing.HEADER_BYTES :] = v.view(np.uint8)
        return room.size

    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add the values. Raises FrameError or TensorError."""
        target = floats(out, "out")
        n = target.size
        body = framing.parse_dense(frame_bytes(frame), self.code, n, 4 * n).view("<f4")  # perhaps not aligned
        if not all_finite(body):
            raise NonFiniteValues(f"float32 frame carries NaN or infinity among its {n} values")
        for part in chunks(n):
            decoded = SCRATCH.get("decoded", part.stop - part.start, np.float32)
            np.copyto(decoded, body[part])
            add_scaled(target[part], decoded, scale)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """Nothing is lost: 0."""
        return np.zeros(k.shape, np.float64)

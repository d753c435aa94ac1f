"""Send nothing: the whole layer stays in the residual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors.compressor import Compressor, ErrorCurve
from kimad.compressors.frame import check_length
from kimad.compressors.option import Option
from kimad.compressors.size import dense_numel
from kimad.compressors.tensors import floats, frame_bytes


@final
class Drop(Compressor):
    """C(v) = 0 in no bytes at all: an empty frame is a dropped layer."""

    name = "drop"
    code = 0

    def wire_bytes(self, shape: Sequence[int], option: Option) -> int:
        """0 bytes, no header either. Raises OptionError."""
        dense_numel(shape, option, self.name)
        return 0

    def encode(self, values: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int) -> int:
        """Write nothing and return 0. Raises OptionError or TensorError."""
        floats(values, "values")
        frame_bytes(out, "out")
        return self.wire_bytes(shape, option)

    def decode(self, frame: Tensor, out: Tensor, scale: float) -> None:
        """Add nothing. Raises WrongLength unless the frame is empty."""
        floats(out, "out")
        check_length(frame_bytes(frame), 0)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """All of the energy, ||v||^2."""
        return np.full(k.shape, curve.total, np.float64)

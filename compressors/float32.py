"""Every entry as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import all_finite
from kimad.compressors.tensors import Bytes, Floats


@final
class Float32(DenseCompressor):
    """C(v) = v, 4 n bytes behind the header."""

    name = "float32"
    code = 1
    scaled = False

    def code_bytes(self, n: int, levels: int) -> int:
        return 4 * n

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        if not all_finite(values):
            raise NonFiniteError("float32: NaN or infinity among the values, only finite ones can be sent")
        np.copyto(codes.view("<f4"), values)

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        if not all_finite(codes.view("<f4")):
            raise NonFiniteValues("float32 frame carries NaN or infinity among its values")

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        np.copyto(out, codes.view("<f4"))

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Nothing is lost: 0."""
        return np.zeros(k.shape)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        return Promise(0.0)

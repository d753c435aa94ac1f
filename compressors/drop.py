"""Send nothing: the whole layer stays in the residual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.compressor import Call, Compressor, ErrorCurve, Promise, check_parameters
from kimad.compressors.frame import Header
from kimad.compressors.option import Option
from kimad.compressors.tensors import Bytes, Floats, numel


@final
class Drop(Compressor):
    """C(v) = 0 in no bytes at all, no header either: an empty frame is a dropped layer."""

    name = "drop"
    code = 0
    header_bytes = 0

    def body_bytes(self, shape: Sequence[int], option: Option) -> int:
        check_parameters(self, option)
        numel(shape)
        return 0

    def write(self, values: Floats, gradient: Floats | None, body: Bytes, call: Call) -> tuple[int, int, int]:
        if gradient is not None:
            np.add(values, gradient, out=values)
        return 0, 0, 0

    def read(self, header: Header, body: Bytes, target: Floats, scale: float) -> None:
        """Nothing to add."""

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """All of the energy, ||v||^2."""
        return np.full(k.shape, curve.total, np.float64)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        return Promise(1.0)

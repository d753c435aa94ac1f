"""Every entry with its mantissa rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from kimad.compressors import kernels
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH, TORCH_PIECE, chunks
from kimad.compressors.tensors import Bytes, Floats

_MAGNITUDE = np.uint16(0x7FFF)
_INFINITY = np.uint16(0x7F80)  # this pattern or above: infinity or NaN
_LARGEST = np.uint16(0x7F7F)
NONFINITE = "bfloat16 frame carries NaN or infinity among its values"


def finite(patterns: NDArray[np.uint16]) -> bool:
    """Whether no bit pattern is infinity or NaN; the order of magnitudes is that of the numbers."""
    magnitude = SCRATCH.get("bfloat16 magnitude", patterns.size, np.uint16)
    return bool(np.bitwise_and(patterns, _MAGNITUDE, out=magnitude).max(initial=0) < _INFINITY)


@final
class BFloat16(DenseCompressor):
    """C(v) = v rounded to the nearest bfloat16, ties to even; beyond the largest finite one, that one."""

    name = "bfloat16"
    code = 2
    scaled = False

    def code_bytes(self, n: int, levels: int) -> int:
        return 2 * n

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        patterns = SCRATCH.get("bfloat16", values.size, np.uint16)  # aligned, which those of a frame are not
        for part in chunks(values.size, TORCH_PIECE):
            # numpy has no bfloat16, so torch converts
            torch.from_numpy(patterns[part]).view(torch.bfloat16).copy_(torch.from_numpy(values[part]))
        if not finite(patterns):
            if not np.isfinite(values).all():
                raise NonFiniteError(f"bfloat16: NaN or infinity among {values.size} values")
            overflow = (patterns & _MAGNITUDE) >= _INFINITY
            patterns[overflow] = (patterns[overflow] & ~_MAGNITUDE) | _LARGEST  # or the residual becomes infinite
        np.copyto(codes.view("<u2"), patterns)

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        if not finite(codes.view("<u2")):
            raise NonFiniteValues(NONFINITE)

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        bits = out.view(np.uint32)
        np.copyto(bits, codes.view("<u2"))
        np.left_shift(bits, 16, out=bits)

    def encode_compiled(self, values: Floats, gradient: Floats | None, body: Bytes) -> bool:
        if kernels.compiled() and not kernels.bfloat16_encode(values, gradient, body):
            raise NonFiniteError(f"bfloat16: NaN or infinity among {values.size} values")
        return kernels.compiled()

    def add_compiled(self, body: Bytes, target: Floats, factor: float) -> bool:
        if kernels.compiled():
            if not kernels.bfloat16_finite(body):
                raise NonFiniteValues(NONFINITE)
            kernels.bfloat16_add(body, target, factor)
        return kernels.compiled()

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """2.7e-6 of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 2.7e-6)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """A relative error of 2^-9 for each entry; 2^-8 where the largest bfloat16 is not enough."""
        return Promise(2.0**-16)

"""Every entry with its mantissa rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH, TORCH_PIECE
from kimad.compressors.tensors import Bytes, Floats

_MAGNITUDE = np.uint16(0x7FFF)
_INFINITY = np.uint16(0x7F80)  # this pattern or above: infinity or NaN
_LARGEST = np.uint16(0x7F7F)


def round_to_bfloat16(values: Floats, patterns: NDArray[np.uint16]) -> None:
    """Write the nearest bfloat16, ties to even, of finite values; beyond the largest one, that. Raises NonFiniteError.

    numpy has no bfloat16, so torch converts; `patterns` is in aligned memory.
    """
    torch.from_numpy(patterns).view(torch.bfloat16).copy_(torch.from_numpy(values))
    if largest_pattern(patterns) >= _INFINITY:
        if not np.isfinite(values).all():
            raise NonFiniteError(f"bfloat16: NaN or infinity among {values.size} values")
        overflow = (patterns & _MAGNITUDE) >= _INFINITY
        patterns[overflow] = (patterns[overflow] & ~_MAGNITUDE) | _LARGEST  # or the residual becomes infinite


def largest_pattern(patterns: NDArray[np.uint16]) -> int:
    """Largest magnitude among bfloat16 bit patterns; their order is that of the numbers."""
    magnitude = SCRATCH.get("bfloat16 magnitude", patterns.size, np.uint16)
    return int(np.bitwise_and(patterns, _MAGNITUDE, out=magnitude).max(initial=0))


def check_finite(patterns: NDArray[np.uint16]) -> None:
    """Raise NonFiniteValues if a pattern is infinity or NaN."""
    if largest_pattern(patterns) >= _INFINITY:
        raise NonFiniteValues("bfloat16 frame carries NaN or infinity among its values")


def from_bfloat16(patterns: NDArray[np.uint16], out: Floats) -> None:
    """The same numbers in float32."""
    bits = out.view(np.uint32)
    np.copyto(bits, patterns)
    np.left_shift(bits, 16, out=bits)


@final
class BFloat16(DenseCompressor):
    """C(v) = v rounded to the nearest bfloat16, ties to even; beyond the largest finite one, that one."""

    name = "bfloat16"
    code = 2
    scaled = False
    chunk = TORCH_PIECE

    def code_bytes(self, n: int, levels: int) -> int:
        return 2 * n

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        patterns = SCRATCH.get("bfloat16", values.size, np.uint16)
        round_to_bfloat16(values, patterns)
        np.copyto(codes.view("<u2"), patterns)

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        check_finite(codes.view("<u2"))

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        from_bfloat16(codes.view("<u2"), out)

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """2.7e-6 of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 2.7e-6)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """A relative error of 2^-9 for each entry; 2^-8 where the largest bfloat16 is not enough."""
        return Promise(2.0**-16)

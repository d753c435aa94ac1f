"""Every entry as a half-precision float, in blocks that are scaled into its range by a power of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from kimad.compressors.blocks import expand, inverse, largest, times
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteScale, NonFiniteValues
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH, TORCH_PIECE
from kimad.compressors.tensors import Bytes, Floats

_TOP = 15  # the largest of a block becomes less than 2^15; float16 ends at 65504
_HIGHEST = 112  # exponent of the largest scale: 65504 times it is finite
LIMIT = np.float32(65504 * 2.0**_HIGHEST)  # what is above, by 1 / 2047 at most, becomes this
_INFINITY = np.uint16(0x7C00)  # these bits set: infinity or NaN


@final
class Float16(DenseCompressor):
    """C(v)_i = s_b float16(v_i / s_b), s_b = 2^(e - 15) with 2^e > max |v| in the block.

    Plain float16 would lose what gradients often are: it is zero below 6e-8 and infinite above 65504.
    """

    name = "float16"
    code = 5
    chunk = TORCH_PIECE

    def code_bytes(self, n: int, levels: int) -> int:
        return 2 * n

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        top = largest(values)
        if top.max(initial=0) > LIMIT:
            values = np.clip(values, -LIMIT, LIMIT)
        _, exponents = np.frexp(top)
        scale = np.ldexp(np.ones(exponents.size, np.float32), np.clip(exponents - _TOP, -126, _HIGHEST))
        halves = SCRATCH.get("float16 halves", values.size, np.float16)
        torch.from_numpy(halves).copy_(torch.from_numpy(times(values, inverse(scale))))  # numpy is ten times slower
        np.copyto(codes.view("<f2"), halves)
        scales[:] = scale

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        if scales.max(initial=0) > 2.0**_HIGHEST:
            raise NonFiniteScale(f"scale {scales.max()} in a frame of float16, must be at most 2^{_HIGHEST}")
        patterns = codes.view("<u2")
        masked = SCRATCH.get("float16", patterns.size, np.uint16)
        if np.any(np.bitwise_and(patterns, _INFINITY, out=masked) == _INFINITY):
            raise NonFiniteValues("float16 frame carries NaN or infinity among its values")

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        halves = SCRATCH.get("float16 halves", out.size, np.float16)
        np.copyto(halves, codes.view("<f2"))
        torch.from_numpy(out).copy_(torch.from_numpy(halves))
        expand(out, scales)

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """A relative error of 2^-11 at most, evenly spread: 4.2e-8 measured."""
        return np.full(k.shape, 4.2e-8)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """(2^-11)^2, and 2^-25 of the block's largest for each entry that is small beside it."""
        return Promise(2.0**-22 + 256 * 2.0**-78)

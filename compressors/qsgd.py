"""Levels between zero and the block's norm, rounded stochastically (QSGD, Alistarh et al., arXiv:1610.02132).

    s_b = ||v_b||_2 / L      q_i = floor(|v_i| / s_b + u_i)      C(v)_i = s_b sign(v_i) q_i      u uniform in (0, 1)

L levels take 2 bits an entry (L = 1), 4 (up to 7) or 8 (up to 127), and 1/64 bytes of scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import packing
from kimad.compressors.blocks import BLOCK, LARGEST, expand, inverse, largest, sums, times, usable
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.linear import pack_signed, stochastically, unpack_signed
from kimad.compressors.option import Option
from kimad.compressors.tensors import Bytes, Floats


def _bits(levels: int) -> int:
    return 2 if levels == 1 else 4 if levels <= 7 else 8


@final
class QSGD(DenseCompressor):
    """C(v)_i = s_b q_i with `Option.k` levels, unbiased."""

    name = "qsgd"
    code = 11
    counts = "levels"
    max_k = 127

    def code_bytes(self, n: int, levels: int) -> int:
        return packing.packed_bytes(n, _bits(levels))

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        top = usable(largest(values))
        rows = times(values, inverse(top))  # or the squares overflow
        padded = np.zeros(top.size * BLOCK, np.float32)
        padded[: rows.size] = rows
        np.multiply(padded, padded, out=padded)
        squares = sums(padded.reshape(-1, BLOCK))
        norm = np.minimum(top.astype(np.float64) * np.sqrt(squares, dtype=np.float64), float(LARGEST))
        scale = usable((norm / levels).astype(np.float32))
        work = times(values, inverse(scale))
        stochastically(work, key, stream)
        np.clip(work, -levels, levels, out=work)
        pack_signed(work, _bits(levels), codes)
        scales[:] = scale

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        packing.check_end(codes, _bits(levels), n)

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        unpack_signed(codes, _bits(levels), out)
        expand(out, scales)

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """min(B / L^2, sqrt(B) / L) bounds it; about a sixth of B / L^2 where L is large, half of the other else."""
        levels = np.maximum(k, 1).astype(np.float64)
        return np.asarray(np.minimum(BLOCK / 6 / levels**2, 0.6 * sqrt(BLOCK) / levels), np.float64)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        bound = min(BLOCK / option.k**2, sqrt(BLOCK) / option.k)
        return Promise(bound * (1 + 1e-3), expected=True, unbiased=True)

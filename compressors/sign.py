"""One bit an entry: its sign, times the mean magnitude of its block.

Scaled sign compression with error feedback: Karimireddy et al., arXiv:1901.09847; 1-bit SGD, Seide et al. 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import packing
from kimad.compressors.blocks import BLOCK, expand, magnitudes, sums, usable
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Floats


def mean_magnitudes(values: Floats) -> Floats:
    """The mean of |v| in each block, (blocks,). Raises NonFiniteError."""
    rows = magnitudes(values)
    sizes = np.full(len(rows), BLOCK, np.float32)
    if values.size % BLOCK:
        sizes[-1] = values.size % BLOCK
    rows *= (1 / sizes)[:, None]  # first, or the sum of large values overflows
    with np.errstate(over="ignore"):
        mean = sums(rows)
    if not np.isfinite(mean).all() and not np.isfinite(values).all():  # in a short block the mean may overflow
        raise NonFiniteError(f"sign: NaN or infinity among {values.size} values")
    return mean


def pack_signs(values: Floats, codes: Bytes) -> None:
    """One bit a value, set where it is negative."""
    signs = SCRATCH.get("signs", values.size, np.bool_)
    np.signbit(values, out=signs)
    packing.pack(signs.view(np.uint8), 1, codes)


def unpack_signs(codes: Bytes, out: Floats) -> None:
    """1 where the bit is 0, -1 where it is 1."""
    np.copyto(out, packing.unpack(codes, 1, out.size))
    out *= np.float32(-2)
    out += np.float32(1)


@final
class Sign(DenseCompressor):
    """C(v)_i = sign(v_i) mean_{j in b} |v_j|, 1/8 + 1/64 bytes an entry. Biased: needs error feedback."""

    name = "sign"
    code = 9

    def code_bytes(self, n: int, levels: int) -> int:
        return packing.packed_bytes(n, 1)

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        scales[:] = usable(mean_magnitudes(values))
        pack_signs(values, codes)

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        packing.check_end(codes, 1, n)

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        unpack_signs(codes, out)
        expand(out, scales)

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """49 % of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 0.49)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """||v||^2 - ||v||_1^2 / B in each block, at most 1 - 1/B of it."""
        return Promise(1 - 1 / BLOCK + 1e-6)

"""Three levels an entry: minus, zero, plus the block's largest magnitude (TernGrad, Wen et al., arXiv:1705.07878).

    s_b = max_{i in b} |v_i|        C(v)_i = s_b sign(v_i) with probability |v_i| / s_b, else 0

Five entries share a byte (3^5 = 243): 0.2 + 1/64 bytes an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.blocks import BLOCK, expand, inverse, largest, times, usable
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import BadCode, TrailingBytes
from kimad.compressors.linear import stochastically
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Floats

_DIGITS = 5  # of base 3, in a byte
_CODES = 3**_DIGITS
_TABLE = np.array([[code // 3**j % 3 - 1.0 for j in range(_DIGITS)] for code in range(_CODES)], np.float32)
_ZEROS = _CODES // 2  # the code of five zeros


@final
class Ternary(DenseCompressor):
    """C(v)_i in {-s_b, 0, s_b}, unbiased."""

    name = "ternary"
    code = 10
    chunk = _DIGITS * BLOCK * 100

    def code_bytes(self, n: int, levels: int) -> int:
        return -(-n // _DIGITS)

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        scale = usable(largest(values))
        work = times(values, inverse(scale))
        stochastically(work, key, stream)
        np.clip(work, -1, 1, out=work)
        digits = SCRATCH.get("ternary", _DIGITS * codes.size, np.uint8)
        digits[values.size :] = 1  # zero
        work += np.float32(1)
        np.copyto(digits[: values.size], work, casting="unsafe")
        rows = digits.reshape(-1, _DIGITS)
        total = rows[:, -1].copy()
        for j in reversed(range(_DIGITS - 1)):
            total *= 3
            total += rows[:, j]
        np.copyto(codes, total)
        scales[:] = scale

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        if codes.max(initial=0) >= _CODES:
            raise BadCode(f"ternary code {codes.max()}, must be below {_CODES}")
        if n % _DIGITS and np.any(_TABLE[codes[-1], n % _DIGITS :]):
            raise TrailingBytes(f"ternary digits behind {n} entries are not zero")

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        whole = out.size // _DIGITS
        np.take(_TABLE, codes[:whole], axis=0, out=out[: whole * _DIGITS].reshape(-1, _DIGITS), mode="clip")
        out[whole * _DIGITS :] = _TABLE[codes[whole:]].ravel()[: out.size - whole * _DIGITS]
        expand(out, scales)

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """ERROR of the energy (measured on gradients of a ResNet-18)."""
        return np.full(k.shape, 2.3)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """sum |v| s - v^2 in each block; |v|_1 <= sqrt(B) ||v|| and s <= ||v||."""
        return Promise(sqrt(BLOCK) - 1 + 1e-3, expected=True, unbiased=True)

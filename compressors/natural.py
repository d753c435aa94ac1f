"""Powers of two only (natural compression, Horvath et al., arXiv:1905.10988).

    C(v)_i = sign(v_i) 2^floor(log2 |v_i|) or twice that, at random so that the mean is v_i

A byte an entry: the sign, and how many times the block's largest power has to be halved, in 7 bits; 0 for zero. What
is 2^-126 of the block's largest or less becomes zero. The scale of a block is its largest power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import noise
from kimad.compressors.blocks import BLOCK, blocks_of
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError, NonFiniteScale
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Floats

_MANTISSA = 23  # bits
_TOP = 247  # largest exponent field written: below 2^121, so that scales stay in the range of all block codes


@final
class Natural(DenseCompressor):
    """C(v)_i = a power of two next to v_i, unbiased; 1 + 1/64 bytes an entry."""

    name = "natural"
    code = 12

    def code_bytes(self, n: int, levels: int) -> int:
        return n

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        n = values.size
        bits = SCRATCH.get("natural", blocks_of(n) * BLOCK, np.uint32)
        bits[n:] = 0
        own = bits[:n]
        np.copyto(own, values.view(np.uint32))
        own &= np.uint32(0x7FFFFFFF)
        if own.max(initial=0) >= 0xFF << _MANTISSA:
            raise NonFiniteError(f"natural: NaN or infinity among {n} values")
        drawn = SCRATCH.get("natural noise", n, np.uint32)
        np.copyto(drawn, noise.halves(key, stream, n))
        drawn <<= np.uint32(_MANTISSA - 16)
        drawn += np.uint32(1 << (_MANTISSA - 17))
        drawn[own < 1 << _MANTISSA] = 0  # a denormal counts as zero
        own += drawn
        own >>= np.uint32(_MANTISSA)  # the exponent field, rounded up with the mantissa's probability
        np.minimum(own, np.uint32(_TOP), out=own)
        top = bits.reshape(-1, BLOCK).max(axis=1)
        halvings = SCRATCH.get("natural rows", bits.size, np.uint32)
        np.subtract((top + 1)[:, None], bits.reshape(-1, BLOCK), out=halvings.reshape(-1, BLOCK))  # 1 for the largest
        number = halvings[:n]
        number[(own == 0) | (number > 127)] = 0
        number |= np.signbit(values).astype(np.uint32) << np.uint32(7)
        np.copyto(codes, number, casting="unsafe")
        scales[:] = (top << np.uint32(_MANTISSA)).view(np.float32)

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        wrong = scales.view(np.uint32) & (1 << 31 | (1 << _MANTISSA) - 1)  # the sign too: -0.0 has an exponent of 256
        if wrong.any():
            raise NonFiniteScale(f"scale {scales[np.argmax(wrong > 0)]} is no power of two")

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        n = out.size
        number = SCRATCH.get("natural numbers", blocks_of(n) * BLOCK, np.int32)
        number[n:] = 0
        np.copyto(number[:n], codes)
        sign = number >> 7
        number &= 127
        zero = number == 0
        top = (scales.view(np.uint32) >> np.uint32(_MANTISSA)).astype(np.int32) + 1
        rows = number.reshape(-1, BLOCK)
        np.subtract(top[:, None], rows, out=rows)
        np.maximum(number, 0, out=number)
        number[zero] = 0
        number <<= _MANTISSA
        number |= sign << 31
        np.copyto(out, number[:n].view(np.float32))

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """At most 1/8 of the energy, at mantissas of 1/2; 8 % in the mean of all mantissas."""
        return np.full(k.shape, 0.08)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        return Promise(1 / 8 + 1e-4, expected=True, unbiased=True)

"""Linear quantization in blocks: whole multiples of a block's scale, in 8 or 4 bits.

    s_b = max_{i in b} |v_i| / L        q_i = round(v_i / s_b), -L..L        C(v)_i = s_b q_i        L = 127, 7

`round` goes to the nearest, half to even, or, stochastically, up with the probability that makes the mean exact.
Rounding to the nearest has half the squared error, and with error feedback nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import kernels, noise, packing
from kimad.compressors.blocks import BLOCK, LARGEST, expand, inverse, largest, read_scales, times, usable
from kimad.compressors.compressor import Promise
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import NonFiniteError
from kimad.compressors.option import Option
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import TINY, Bytes, Floats


def to_nearest(scaled: Floats) -> None:
    """Round to whole numbers, half to even, in place."""
    np.rint(scaled, out=scaled)


def stochastically(scaled: Floats, key: int, stream: int) -> None:
    """Round to the whole number below or above so that the mean over keys is the value, in place."""
    np.add(scaled, noise.uniform(key, stream, SCRATCH.get("noise", scaled.size, np.float32)), out=scaled)
    np.floor(scaled, out=scaled)


def pack_signed(numbers: Floats, bits: int, codes: Bytes) -> None:
    """Write whole numbers of magnitude below 2^(bits - 1) in two's complement of 2, 4 or 8 bits."""
    if bits == 8:
        np.copyto(codes.view(np.int8), numbers, casting="unsafe")
        return
    signed = SCRATCH.get("signed", numbers.size, np.int8)
    np.copyto(signed, numbers, casting="unsafe")
    unsigned = signed.view(np.uint8)
    np.bitwise_and(unsigned, (1 << bits) - 1, out=unsigned)
    packing.pack(unsigned, bits, codes)


def unpack_signed(codes: Bytes, bits: int, out: Floats) -> None:
    """Read numbers as `pack_signed` writes them."""
    if bits == 8:
        np.copyto(out, codes.view(np.int8))
        return
    numbers = packing.unpack(codes, bits, out.size)
    np.bitwise_xor(numbers, 1 << (bits - 1), out=numbers)
    np.subtract(numbers, 1 << (bits - 1), out=numbers)  # wraps to the two's complement of 8 bits
    np.copyto(out, numbers.view(np.int8))


@final
class Linear(DenseCompressor):
    """int8, int4: to the nearest; int8-stochastic, int4-stochastic: unbiased. 1 + 1/64 or 1/2 + 1/64 bytes an entry."""

    def __init__(self, bits: int, stochastic: bool, code: int) -> None:
        self.name = f"int{bits}-stochastic" if stochastic else f"int{bits}"
        self.code = code
        self._bits = bits
        self._levels = np.float32((1 << (bits - 1)) - 1)
        self._stochastic = stochastic

    def code_bytes(self, n: int, levels: int) -> int:
        return packing.packed_bytes(n, self._bits)

    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        scale = largest(values)
        np.divide(scale, self._levels, out=scale)
        usable(scale)
        work = times(values, inverse(scale))
        if self._stochastic:
            stochastically(work, key, stream)
        else:
            to_nearest(work)
        if self._stochastic or scale.max() >= LARGEST:  # elsewhere no entry is beyond the last level
            np.clip(work, -self._levels, self._levels, out=work)
        pack_signed(work, self._bits, codes)
        scales[:] = scale

    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        packing.check_end(codes, self._bits, n)

    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        unpack_signed(codes, self._bits, out)
        expand(out, scales)

    def encode_compiled(self, values: Floats, gradient: Floats | None, body: Bytes) -> bool:
        if self._stochastic or not kernels.compiled():
            return False
        if not kernels.linear_encode(values, gradient, self._bits, float(LARGEST), float(TINY), body):
            raise NonFiniteError(f"NaN or infinity among {values.size} values, only finite ones can be sent")
        return True

    def add_compiled(self, body: Bytes, target: Floats, factor: float) -> bool:
        if kernels.compiled():
            read_scales(body, target.size)
            packing.check_end(body, self._bits, target.size)
            kernels.linear_add(body, self._bits, target, factor)
        return kernels.compiled()

    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """8e-5 and 2.6 % of the energy (measured on gradients of a ResNet-18), twice that with stochastic rounding."""
        return np.full(k.shape, (8e-5 if self._bits == 8 else 0.026) * (2 if self._stochastic else 1))

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """To the nearest: half a step, never more than the entry; the largest is exact. Stochastic: B s^2 / 4."""
        step_square = 1 / float(self._levels) ** 2  # of the block's energy, which is at least max^2
        if self._stochastic:
            return Promise(BLOCK * step_square / 4, expected=True, unbiased=True)
        return Promise(min(BLOCK * step_square / 4, 1 - 1 / BLOCK) + 1e-6)

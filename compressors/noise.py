"""Randomness for stochastic rounding: a pure function of a key and a position, the same on every machine.

Philox-4x64 (Salmon et al. 2011) by numpy's bit generator, whose raw stream is fixed; never a global generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.tensors import Floats

_MASK = (1 << 64) - 1


def words(key: int, stream: int, size: int) -> NDArray[np.uint64]:
    """`size` uniform 64-bit words, (size,), of one of the streams of a key."""
    generator = np.random.Philox(key=np.array([key & _MASK, stream], np.uint64))
    drawn: NDArray[np.uint64] = generator.random_raw(size)
    return drawn


def halves(key: int, stream: int, size: int) -> NDArray[np.uint16]:
    """`size` uniform 16-bit numbers."""
    return words(key, stream, -(-size // 4)).astype("<u8", copy=False).view("<u2")[:size]


def uniform(key: int, stream: int, out: Floats) -> Floats:
    """Fill `out` with uniform numbers (j + 1/2) / 65536 in (0, 1); returns it."""
    np.copyto(out, halves(key, stream, out.size))
    out += np.float32(0.5)
    out *= np.float32(1 / 65536)
    return out

"""Randomness for stochastic rounding: a pure function of a key and a position, the same on every machine.

Philox-4x64 (Salmon et al. 2011) by numpy's bit generator, whose raw stream is fixed; never a global generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.tensors import Floats

_MASK = (1 << 64) - 1


def generator(key: int, stream: int) -> np.random.Philox:
    """One of the streams of a key; `random_raw(size)` draws uniform 64-bit words from it."""
    return np.random.Philox(key=np.array([key & _MASK, stream], np.uint64))


def halves(key: int, stream: int, size: int) -> NDArray[np.uint16]:
    """`size` uniform 16-bit numbers."""
    return generator(key, stream).random_raw(-(-size // 4)).astype("<u8", copy=False).view("<u2")[:size]


def uniform(key: int, stream: int, out: Floats) -> Floats:
    """Fill `out` with uniform numbers (j + 1/2) / 65536 in (0, 1); returns it."""
    np.copyto(out, halves(key, stream, out.size))
    out += np.float32(0.5)
    out *= np.float32(1 / 65536)
    return out

"""Sorted indices in about log2(n / k) + 1.5 to 2 bits each: Elias-Fano (Elias 1974, Fano 1971).

An index i is cut into a high part i >> l and its l low bits. The high parts are a bit vector of k + (n >> l) + 1 bits
in which bit (i_j >> l) + j is set for the j-th index; the low parts follow as they are. l is one of 0, 4, 8, 12, 16, so
that low parts are whole nibbles and bytes and nothing loops over bits.

    body: bit vector (first bit highest, zeros up to a byte) | l = 8, 12: bytes, l = 16: uint16 | l = 4, 12: nibbles
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import nibbles
from kimad.compressors.errors import BadIndices
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Indices

LOW_BITS = (0, 4, 8, 12, 16)
MAX_N = 2**31 - 1  # indices stay below 2**31


def _high_bytes(n: int, k: int, low_bits: int) -> int:
    return (k + (n >> low_bits) + 8) // 8


def _low_bytes(k: int, low_bits: int) -> int:
    return (low_bits // 8) * k + (nibbles.packed_bytes(k) if low_bits % 8 else 0)


def body_bytes(n: int, k: int, low_bits: int) -> int:
    """Exact size of k indices below n: ceil((k + (n >> l) + 1) / 8) + ceil(k l / 8) bytes; 0 for k = 0."""
    return _high_bytes(n, k, low_bits) + _low_bytes(k, low_bits) if k else 0


@lru_cache(maxsize=65536)
def best_low_bits(n: int, k: int) -> int:
    """Return the l with the smallest body; of equal ones the largest, which is the fastest."""
    return min(reversed(LOW_BITS), key=lambda low_bits: body_bytes(n, k, low_bits))


def encode(indices: NDArray[np.int32], n: int, low_bits: int, out: Bytes) -> None:
    """Write k >= 1 strictly increasing indices below n to `body_bytes(n, k, low_bits)` bytes."""
    k = indices.size
    high_bytes = _high_bytes(n, k, low_bits)
    bits = SCRATCH.get("elias_fano bits", 8 * high_bytes, np.bool_)
    bits.fill(False)
    positions = indices >> low_bits
    positions += np.arange(k, dtype=np.int32)
    bits[positions] = True
    out[:high_bytes] = np.packbits(bits)
    low = out[high_bytes:]
    if low_bits >= 16:
        np.copyto(low.view("<u2"), indices, casting="unsafe")  # keeps the low 16 bits
    elif low_bits >= 8:
        np.copyto(low[:k], indices >> (low_bits - 8), casting="unsafe")
        low = low[k:]
    if low_bits % 8:
        nibbles.pack((indices & 15).astype(np.uint8), low)


def decode(body: Bytes, n: int, k: int, low_bits: int) -> Indices:
    """Return the k >= 1 indices, checked to be strictly increasing and below n. Raises BadIndices or TrailingBytes."""
    high_bytes = _high_bytes(n, k, low_bits)
    indices = np.unpackbits(body[:high_bytes]).view(np.bool_).nonzero()[0]
    if indices.size != k:
        raise BadIndices(f"{indices.size} bits are set in the high parts of {k} indices")
    if indices[-1] > k + (n >> low_bits):
        raise BadIndices(f"bit {indices[-1]} is set behind the {k + (n >> low_bits) + 1} bits of the high parts")
    indices -= np.arange(k)
    low = body[high_bytes:]
    if low_bits >= 16:
        indices <<= 16
        indices |= low.view("<u2")
    elif low_bits >= 8:
        indices <<= 8
        indices |= low[:k]
        low = low[k:]
    if low_bits % 8:
        indices <<= 4
        indices |= nibbles.unpack(low, k)
    if indices[-1] >= n:
        raise BadIndices(f"index {indices[-1]} of a tensor with {n} entries")
    if not (indices[1:] > indices[:-1]).all():
        j = int(np.argmin(indices[1:] > indices[:-1]))
        raise BadIndices(f"index {indices[j + 1]} follows {indices[j]}, indices must strictly increase")
    return indices

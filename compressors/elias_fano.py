"""Sorted indices in about log2(n / k) + 1.5 bits each: Elias-Fano (Elias 1974, Fano 1971).

An index i is cut into a high part i >> l and its l low bits. The high parts are a bit vector of k + (n >> l) + 1 bits
in which bit (i_j >> l) + j is set for the j-th index. The low parts are cut into planes of 8, 4, 2 and 1 bits, highest
first, and each plane is packed by itself, so that any l will do and nothing loops over bits.

    body: bit vector (first bit highest, zeros up to a byte) | planes of 8 bits | of 4 | of 2 | of 1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import kernels, packing
from kimad.compressors.errors import BadIndices
from kimad.compressors.scratch import CHUNK, SCRATCH, chunks
from kimad.compressors.tensors import Bytes, Indices

MAX_LOW_BITS = 30


def planes(low_bits: int) -> Iterator[tuple[int, int]]:
    """Bits of each plane, and how many lower bits come after it."""
    left = low_bits
    for bits in (8, 8, 8, 4, 2, 1):
        if left >= bits:
            left -= bits
            yield bits, left


def _high_bytes(n: int, k: int, low_bits: int) -> int:
    return (k + (n >> low_bits) + 8) // 8


def body_bytes(n: int, k: int, low_bits: int) -> int:
    """Exact size of k indices below n: ceil((k + (n >> l) + 1) / 8) and ceil(k b / 8) for every plane of b bits."""
    rest = low_bits & 7
    low = (low_bits >> 3) * k
    for bits in (4, 2, 1):
        if rest & bits:
            low += (k * bits + 7) // 8
    return _high_bytes(n, k, low_bits) + low


def encode(indices: Indices, n: int, low_bits: int, out: Bytes) -> None:
    """Write k >= 1 strictly increasing indices below n to `body_bytes(n, k, low_bits)` bytes."""
    k = indices.size
    if kernels.compiled():
        kernels.elias_fano_encode(indices, n, low_bits, out)
        return
    high_bytes = _high_bytes(n, k, low_bits)
    bits = SCRATCH.get("elias_fano bits", 8 * high_bytes, np.bool_)
    bits.fill(False)
    for part in chunks(k):
        bits[(indices[part] >> low_bits) + np.arange(part.start, part.stop)] = True
    out[:high_bytes] = np.packbits(bits)
    at = high_bytes
    for width, below in planes(low_bits):
        for part in chunks(k):
            plane = (indices[part] >> below).astype(np.uint8)  # keeps the low byte
            plane &= (1 << width) - 1
            packing.pack(plane, width, out[at + part.start * width // 8 : at + packing.packed_bytes(part.stop, width)])
        at += packing.packed_bytes(k, width)


def decode(body: Bytes, n: int, k: int, low_bits: int) -> Indices:
    """Return the k >= 1 indices, strictly increasing and below n, perhaps in scratch memory of this thread.

    Raises BadIndices or TrailingBytes.
    """
    if kernels.compiled():
        indices: Indices = SCRATCH.get("elias_fano", k, np.int32)
        if kernels.elias_fano_decode(body, n, low_bits, indices):
            return indices
    # here, what is wrong with it is found out too
    high_bytes = _high_bytes(n, k, low_bits)
    indices = set_bits(body[:high_bytes], k, "big", f"the high parts of {k} indices")
    if indices[-1] > k - 1 + (n >> low_bits):
        raise BadIndices(f"bit {indices[-1]} is set behind the {k + (n >> low_bits)} of the high parts below {n}")
    last = -1
    for part in chunks(k):
        own = indices[part].astype(np.int64)
        own -= np.arange(part.start, part.stop)
        at = high_bytes
        for width, _ in planes(low_bits):
            plane = body[at + part.start * width // 8 : at + packing.packed_bytes(part.stop, width)]
            own <<= width
            own |= packing.unpack(plane, width, own.size)
            at += packing.packed_bytes(k, width)
        check_increasing(own, n, last)
        last = int(own[-1])
        indices[part] = own
    return indices


def set_bits(packed: Bytes, k: int, order: Literal["big", "little"], where: str) -> Indices:
    """Return the places of the bits that are set, (k,), increasing. Raises BadIndices unless they are k."""
    places = np.empty(k, np.int32)
    count = 0
    for part in chunks(packed.size, CHUNK // 8):
        found = np.unpackbits(packed[part], bitorder=order).view(np.bool_).nonzero()[0]
        if count + found.size <= k:
            np.add(found, 8 * part.start, out=places[count : count + found.size], casting="unsafe")
        count += found.size
    if count != k:
        raise BadIndices(f"{count} bits are set in {where}")
    return places


def check_increasing(indices: NDArray[np.int64], n: int, before: int = -1) -> None:
    """Raise BadIndices unless indices strictly increase from above `before` to below n."""
    rising = np.diff(indices, prepend=before) > 0
    if not rising.all():
        j = int(np.argmin(rising))
        raise BadIndices(
            f"index {indices[j]} follows {indices[j - 1] if j else before}, indices must strictly increase"
        )
    if indices[-1] >= n:
        raise BadIndices(f"index {indices[-1]} of a tensor with {n} entries")

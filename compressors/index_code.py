"""How the sorted indices of a sparse frame are written. The code is chosen by exact size, which n and k alone give.

0..30   Elias-Fano with so many low bits (`elias_fano`)
32      bitmap: bit i is set if i is an index; n bits
33      words: 16 bits an index; tensors of up to 65536 entries
34      dense run: every index from 0 to n - 1; nothing is written
35      seeded: a 64-bit key that tells all indices (`strata`)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from kimad.compressors import elias_fano, strata
from kimad.compressors.errors import BadIndexCode, BadIndices, CountMismatch
from kimad.compressors.scratch import chunks
from kimad.compressors.tensors import Bytes, Indices

BITMAP, WORDS, DENSE, SEEDED = 32, 33, 34, 35
WORDS_N = 1 << 16  # longest tensor whose indices fit 16 bits
MAX_N = 2**31 - 1  # indices stay below 2**31


def body_bytes(n: int, k: int, code: int) -> int:
    """Exact size of k indices below n; 0 for k = 0."""
    if k == 0 or code == DENSE:
        return 0
    if code == BITMAP:
        return (n + 7) // 8
    if code == WORDS:
        return 2 * k
    if code == SEEDED:
        return 8
    return elias_fano.body_bytes(n, k, code)


def _candidates(n: int, k: int, run: bool) -> Iterator[int]:
    """What can be the smallest. Elias-Fano is at its best near log2(n / k) low bits; whole bytes round up least."""
    if run and k == n:
        yield DENSE
    if n <= WORDS_N:
        yield WORDS
    yield BITMAP
    if k < 64:
        yield from reversed(range(elias_fano.MAX_LOW_BITS + 1))
        return
    near = (n // k).bit_length() - 1
    yield from (near + shift for shift in (1, 0, -1, -2) if near + shift >= 0)


@lru_cache(maxsize=65536)
def best(n: int, k: int, run: bool = True) -> int:
    """The code with the smallest body for k >= 1 indices below n; `run`: whether a dense run is allowed."""
    return min(_candidates(n, k, run), key=lambda code: body_bytes(n, k, code))


def check(n: int, k: int, code: int) -> None:
    """Raise a FrameError if there is no such code, or if it cannot hold k indices below n."""
    if code == WORDS and n > WORDS_N:
        raise BadIndexCode(f"16-bit indices of a tensor with {n} entries, allowed are {WORDS_N}")
    if code == DENSE and k not in (0, n):
        raise CountMismatch(f"a dense run of {k} entries in a tensor that has {n}")
    if code > elias_fano.MAX_LOW_BITS and code not in (BITMAP, WORDS, DENSE, SEEDED):
        raise BadIndexCode(f"index code {code}, allowed are 0 to {elias_fano.MAX_LOW_BITS} and {BITMAP} to {SEEDED}")


def encode(indices: Indices, n: int, code: int, key: int, out: Bytes) -> None:
    """Write k >= 1 strictly increasing indices below n to `body_bytes(n, k, code)` bytes."""
    if code == DENSE:
        return
    if code == BITMAP:
        for part in chunks(n):
            own = indices[slice(*np.searchsorted(indices, (part.start, part.stop)))]
            bits = np.zeros(part.stop - part.start, np.bool_)
            bits[own - part.start] = True
            out[part.start // 8 : (part.stop + 7) // 8] = np.packbits(bits, bitorder="little")
    elif code == WORDS:
        np.copyto(out.view("<u2"), indices, casting="unsafe")
    elif code == SEEDED:
        out[:] = np.frombuffer((key & (1 << 64) - 1).to_bytes(8, "little"), np.uint8)
    else:
        elias_fano.encode(indices, n, code, out)


def decode(body: Bytes, n: int, k: int, code: int) -> Indices:
    """Return the k >= 1 indices, checked to be strictly increasing and below n, perhaps in scratch memory.

    Raises BadIndices or TrailingBytes.
    """
    if code == DENSE:
        return np.arange(n, dtype=np.int32)
    if code == SEEDED:
        return strata.places(int.from_bytes(body.tobytes(), "little"), n, k)
    if code == BITMAP:
        if n % 8 and body[-1] >> n % 8:
            raise BadIndices(f"a bit behind the {n} bits of a bitmap is set")
        return elias_fano.set_bits(body, k, "little", f"a bitmap of {k} indices")
    if code == WORDS:
        elias_fano.check_increasing(body.view("<u2").astype(np.int64), n)
        return body.view("<u2").astype(np.int32)
    return elias_fano.decode(body, n, k, code)

"""k random places among n, told by a key: one in each of k nearly equal strata.

    place_j in [floor(j n / k), floor((j + 1) n / k)), uniform        j = 0..k-1

So places come sorted and distinct, each entry is drawn with probability 1 / (size of its stratum), about k / n, and a
sum over the places varies no more than with a uniform subset.
"""

from __future__ import annotations

import numpy as np

from kimad.compressors import noise
from kimad.compressors.scratch import chunks
from kimad.compressors.tensors import Indices

STREAM = 1 << 32  # of the key's randomness; the streams of pieces come before it


def places(key: int, n: int, k: int) -> Indices:
    """The places, (k,), strictly increasing below n < 2**31."""
    chosen = np.empty(k, np.int32)
    generator = noise.generator(key, STREAM)
    for part in chunks(k):
        edges = np.arange(part.start, part.stop + 1, dtype=np.int64) * n // k
        drawn = generator.random_raw(part.stop - part.start) >> np.uint64(32)
        drawn *= np.diff(edges).astype(np.uint64)
        np.add(edges[:-1], (drawn >> np.uint64(32)).astype(np.int64), out=chosen[part], casting="unsafe")
    return chosen

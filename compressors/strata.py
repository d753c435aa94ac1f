"""k random places among n, told by a key: one in each of k nearly equal strata.

    place_j in [floor(j n / k), floor((j + 1) n / k)), uniform        j = 0..k-1

So places come sorted and distinct, each entry is drawn with probability 1 / (size of its stratum), about k / n, and a
sum over the places varies no more than with a uniform subset.
"""

from __future__ import annotations

import numpy as np

from kimad.compressors import noise
from kimad.compressors.tensors import Indices

STREAM = 1 << 32  # of the key's randomness; the streams of pieces come before it


def places(key: int, n: int, k: int) -> Indices:
    """The places, (k,), int64, strictly increasing below n < 2**31."""
    edges = np.arange(k + 1, dtype=np.int64) * n // k
    drawn = noise.words(key, STREAM, k) >> np.uint64(32)
    sizes = np.diff(edges).astype(np.uint64)
    chosen: Indices = edges[:-1] + ((drawn * sizes) >> np.uint64(32)).astype(np.int64)
    return chosen

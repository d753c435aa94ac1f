"""Up and down of every rank, from who received what from whom in which time.

With N ranks, b_s bytes of rank s, which it sends to each of the others, and d_rs seconds until rank r had them:

    up_s   = 8 (N - 1) b_s / max_r d_rs
    down_r = max_k 8 (b_1 + .. + b_k) / d_rk            its peers in the order in which they were done

Both are the rate of the link where it is what limits, and a lower bound where something else does: a rank whose uplink
is slow makes nobody's downlink seem as slow, because the k peers before it count by themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import LinkSamples, samples_of

Floats = NDArray[np.float64]


def direction_samples(time_s: float, peers: Floats) -> tuple[LinkSamples, LinkSamples]:
    """One sample a rank of its uplink, and one of its downlink.

    peers: (N, 1 + N) b and d, as ranks tell them (`Everyone.peers`).
    """
    size, seconds = peers[:, 0], peers[:, 1:]
    ranks = len(size)
    others = ~np.eye(ranks, dtype=bool)
    up_s = np.where(others, seconds, 0.0).max(axis=0)
    from_s = seconds[others].reshape(ranks, ranks - 1)
    bytes_from = np.broadcast_to(size, (ranks, ranks))[others].reshape(ranks, ranks - 1)
    order = np.argsort(from_s, axis=1, kind="stable")
    done_s = np.take_along_axis(from_s, order, axis=1)
    arrived = np.cumsum(np.take_along_axis(bytes_from, order, axis=1), axis=1)
    rate = np.divide(arrived, done_s, out=np.zeros_like(arrived), where=done_s > 0)
    best = rate.argmax(axis=1)[:, None]
    down_bytes, down_s = (np.take_along_axis(part, best, axis=1)[:, 0] for part in (arrived, done_s))
    return samples_of(time_s, (ranks - 1) * size, up_s), samples_of(time_s, down_bytes, down_s)

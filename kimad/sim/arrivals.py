"""When each worker's frames are with each other one, where all begin to send to all at one moment.

    arrival[r, s] = max(when s has sent all its copies, when r's downlink has carried sum over t of min(b_t, b_s))

A downlink is shared evenly by those that still send: frames of b_s bytes are there when as much of everybody's is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.sim.links import Links

Floats = NDArray[np.float64]


def arrivals(links: Links, begin_s: float, frame_bits: Floats) -> Floats:
    """(W, W) s, by receiver and sender; on the diagonal stands when a worker has sent everything. frame_bits: (W,)."""
    workers = len(frame_bits)
    found = np.empty((workers, workers))
    for size in np.unique(frame_bits):
        carried = np.minimum(frame_bits, size)
        up_s, down_s = links.finish_each(begin_s, (workers - 1) * frame_bits, carried.sum() - carried)
        of = frame_bits == size
        found[:, of] = np.maximum(up_s[None, of], down_s[:, None])
        found[of, of] = up_s[of]
    return found

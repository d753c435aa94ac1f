"""Predicted step time: buckets become ready during backward and pass one queue, in order.

    finish_b = max(finish_{b-1}, ready_b) + cost_b
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def finish_s(ready_s: Floats, link_s: Floats, coding_s: Floats) -> Floats:
    """Seconds from the start of a step to its last averaged gradient, for several plans at once.

    ready_s: (B,) when each bucket is ready. link_s, coding_s: (P, B) seconds on the link, and of encoding and decoding.
    Coding takes the processor from backward, so it also delays every later bucket. Returns (P,).
    """
    delay = np.cumsum(coding_s, axis=1)
    finish = np.zeros(len(link_s))
    for b, ready in enumerate(ready_s):
        earlier = delay[:, b] - coding_s[:, b]
        finish = np.maximum(finish, ready + earlier) + coding_s[:, b] + link_s[:, b]
    return finish

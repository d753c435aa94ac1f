"""Predicted step time: buckets become ready during backward, and pass two queues in order, encoding and the link.

encoded_b = max(encoded_{b-1}, ready_b) + encode_b
arrived_b = max(arrived_{b-1} + decode_{b-1}, encoded_b) + link_b
step      = arrived_B + decode_B
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ENCODE_SHARE = 0.65  # of the seconds of coding: selection and the own residual weigh more than decoding


def finish_s(ready_s: Floats, link_s: Floats, coding_s: Floats) -> Floats:
    """Seconds from the start of a step to its last averaged gradient, for several plans at once.

    ready_s: (B,) when each bucket is ready. link_s, coding_s: (P, B) seconds on the link, and of encoding and decoding.
    Coding takes the processor from backward, so it also delays every later bucket. Returns (P,).
    """
    taken = np.cumsum(coding_s, axis=1) - coding_s
    encoded, free = np.zeros(len(link_s)), np.zeros(len(link_s))
    for b, ready in enumerate(ready_s):
        encoded = np.maximum(encoded, ready + taken[:, b]) + ENCODE_SHARE * coding_s[:, b]
        free = np.maximum(free, encoded) + link_s[:, b] + (1 - ENCODE_SHARE) * coding_s[:, b]
    return free

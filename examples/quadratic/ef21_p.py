"""EF21-P, the way down: the server sends what brings the workers' copy of the model nearer to its own.

    q  = C(x − w)        sent by the server to all workers
    w ← w + q            kept by the server and by all workers alike

(Gruntkowska, Tyurin, Richtárik: EF21-P and friends, arXiv 2209.15218.) What was left out of x − w is part of the
next difference, so nothing is lost. Gradients are taken at w.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def owed(model: Floats, copy: Floats) -> Floats:
    """What the compressor is given: x − w, any shape."""
    return model - copy


def received(copy: Floats, decoded: Floats) -> Floats:
    """w_new = w_old + decoded, any shape."""
    return copy + decoded

"""EF21, the way up: each worker keeps an estimate of its gradient, and sends what brings it nearer.

    c_m   = C(∇f_m(w) − u_m)        sent by worker m
    u_m  ← u_m + c_m                kept by the worker and by the server alike
    x    ← x − γ/M Σ_m u_m          the server's step

(Richtárik, Sokolov, Fatkhullin: EF21, arXiv 2106.05203.) C leaves out at most 1 − α of the energy of what it is given,
so u_m follows the gradient wherever the gradient settles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def owed(gradients: Floats, estimates: Floats) -> Floats:
    """What the compressor is given: ∇f_m(w) − u_m, any shape."""
    return gradients - estimates


def received(estimates: Floats, decoded: Floats) -> Floats:
    """u_new = u_old + decoded, any shape: the law that keeps both ends equal."""
    return estimates + decoded


def step(model: Floats, estimates: Floats, gamma: Floats) -> Floats:
    """x − γ · mean of u over workers; (R, L, W), (R, M, L, W), (R,) -> (R, L, W)."""
    stepped: Floats = model - gamma[:, None, None] * estimates.mean(axis=1)
    return stepped

"""The objective: quadratics that differ from worker to worker, with layers of different curvature.

f(x) = 1/M Σ_m f_m(x),   f_m(x) = ½ x'diag(a_m)x − b_m'x
f(x) − f* = ½ Σ ā (x − x*)²,   x* = b̄ / ā        (ā, b̄: means over workers)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPREAD = 30.0  # curvature of the last layer over that of the first
LEAST, MOST = 0.2, 1.0  # of a layer's curvature: what a worker's own may be


@final
@dataclass(frozen=True, eq=False)
class Quadratics:
    """M workers' quadratics over L layers of W entries each."""

    curvature: Floats  # (M, L, W) a, above 0
    slope: Floats  # (M, L, W) b

    @cached_property
    def mean_curvature(self) -> Floats:
        """(L, W) ā."""
        mean: Floats = self.curvature.mean(axis=0)
        return mean

    @cached_property
    def minimum(self) -> Floats:
        """(L, W) x*."""
        minimum: Floats = self.slope.mean(axis=0) / self.mean_curvature
        return minimum

    @cached_property
    def smoothness(self) -> float:
        """L: f's gradient changes by at most L times as much as x."""
        return float(self.mean_curvature.max())

    @cached_property
    def mean_smoothness(self) -> float:
        """L~ = sqrt(1/M Σ L_m²), L_m that of f_m."""
        return float(np.sqrt((self.curvature.max(axis=(1, 2)) ** 2).mean()))

    @cached_property
    def strength(self) -> float:
        """μ: f is strongly convex with this constant."""
        return float(self.mean_curvature.min())

    @cached_property
    def start_gap(self) -> float:
        """f(0) − f*."""
        return float(self.gap(np.zeros_like(self.minimum)))

    def gap(self, x: Floats) -> Floats:
        """(..., L, W) -> (...) f(x) − f*; without the cancellation of a difference of two values of f."""
        gap: Floats = 0.5 * np.einsum("...lw,lw->...", (x - self.minimum) ** 2, self.mean_curvature)
        return gap

    def gradients(self, x: Floats) -> Floats:
        """(..., L, W) -> (..., M, L, W) every worker's gradient at x."""
        gradients: Floats = self.curvature * x[..., None, :, :] - self.slope
        return gradients

    def gradient(self, x: Floats) -> Floats:
        """(..., L, W) -> (..., L, W) the gradient of f."""
        gradient: Floats = self.mean_curvature * (x - self.minimum)
        return gradient


def make(workers: int, layers: int, width: int, seed: int) -> Quadratics:
    """Random quadratics whose curvature grows by `SPREAD` from the first layer to the last.

    Raises:
        ValueError: a size below 1, or a negative seed.
    """
    for name, value, least in (("workers", workers, 1), ("layers", layers, 1), ("width", width, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")
    rng = np.random.default_rng(seed)
    scale = np.geomspace(1.0, SPREAD, layers)[:, None]
    curvature = scale * rng.uniform(LEAST, MOST, (workers, layers, width))
    slope = scale * rng.standard_normal((workers, layers, width))
    return Quadratics(curvature, slope)

"""Error curves: what is lost at each density, read off a few thousand samples of a layer.

The squared error of keeping the k largest of n entries is the energy of the others. A strided
sample of 4096 entries, sorted, gives it within about 2 % for every k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

SAMPLES = 4096
DENSITIES = np.geomspace(2e-5, 1.0, 48)  # grid on which curves travel and menus are built


def sample_stride(n: int, samples: int = SAMPLES) -> int:
    """Smallest stride for about `samples` samples without a factor 2, 3, 5, 7.

    A stride with such a factor sees a single position of every 3 x 3 convolution kernel.
    """
    stride = max(1, n // samples)
    while stride > 1 and any(stride % p == 0 for p in (2, 3, 5, 7)):
        stride += 1
    return stride


def kept_energy(values: Tensor, seed: int) -> Floats:
    """Energy of the ceil(d n) largest of n entries, for each d of DENSITIES; flat float32 in, (len(DENSITIES),) out.

    The last point is the exact squared norm; the others are scaled to it.
    """
    x = values.numpy()
    total = squared_norm(values)
    if total <= 0:
        return np.zeros(len(DENSITIES))
    stride = sample_stride(x.size)
    return sampled_energy(x[seed % stride :: stride], x.size, total)


def squared_norm(values: Tensor) -> float:
    """Of a flat float32 tensor; 0 where float32 does not hold it."""
    x = values.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.dot(x, x)) if x.size else 0.0
    return total if np.isfinite(total) else 0.0


def sampled_energy(sample: NDArray[np.float32], numel: int, total: float) -> Floats:
    """Energy of the ceil(d numel) largest entries, for each d of DENSITIES, from a sample and the squared norm."""
    picked = sample.astype(np.float64)
    energy = np.sort(picked * picked)[::-1]
    cumulative = np.concatenate([[0.0], np.cumsum(energy)])
    if cumulative[-1] <= 0:  # the sample met zeros only: assume evenly spread energy
        return total * DENSITIES
    ranks = np.minimum(np.ceil(DENSITIES * numel) / numel, 1.0) * energy.size
    kept: Floats = np.interp(ranks, np.arange(energy.size + 1), cumulative) * (total / cumulative[-1])
    return kept


@final
@dataclass(frozen=True)
class Curve:
    """Kept energy of one layer as a function of k, between the points of DENSITIES."""

    numel: int
    energy: Floats  # at each density of DENSITIES

    @property
    def total(self) -> float:
        """Squared norm of the layer."""
        return float(self.energy[-1])

    def kept(self, k: NDArray[np.int64]) -> Floats:
        """Energy of the k largest entries."""
        at = np.concatenate([[0.0], np.ceil(DENSITIES * self.numel)])
        kept: Floats = np.interp(np.asarray(k, np.float64), at, np.concatenate([[0.0], self.energy]))
        return kept


@final
class SmoothedCurves:
    """The curves of all layers, averaged over readings: the link is followed at once, the gradients slowly."""

    def __init__(self, numels: list[int], weight: float = 0.5) -> None:
        self._numels = numels
        self._weight = weight
        self._energy: Floats | None = None  # (layers, densities)

    def update(self, energy: Floats) -> None:
        """Take in one reading, (layers, densities), summed over ranks; nothing if that sum overflowed."""
        if not np.isfinite(energy).all():
            return
        self._energy = energy.copy() if self._energy is None else self._energy + self._weight * (energy - self._energy)

    @property
    def ready(self) -> bool:
        """Whether there has been a reading with any energy."""
        return self._energy is not None and float(self._energy[:, -1].sum()) > 0

    def curves(self) -> list[Curve]:
        """One curve a layer. Raises RuntimeError before the first reading."""
        if self._energy is None:
            raise RuntimeError("no reading of the gradients yet")
        return [Curve(n, e) for n, e in zip(self._numels, self._energy, strict=True)]

"""A random walk that is drawn to its middle (Ornstein-Uhlenbeck), clipped to a band.

The state is sampled every STEP_S and held in between:

    x[0] = z[0] · SIGMA,   x[n] = ρ · x[n-1] + sqrt(1 - ρ²) · SIGMA · z[n],   ρ = exp(-STEP_S / RELAXATION_S)
    rate[n] = clip((LO + HI)/2 + x[n], LO, HI)

with z standard normal. SIGMA is the standard deviation of the state before it is clipped, at any time. After
LENGTH_S the walk begins anew. The numbers come from numpy's PCG64, so they hold for one version of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.trace.limits import LinkError, check_order, check_rates, spelled
from kimad.trace.steps import Steps
from kimad.trace.stepwise import StepLink

STEP_S = 0.5  # how long a rate holds
RELAXATION_S = 10.0  # after so long a deviation has fallen to 1/e
LENGTH_S = 1200.0  # after so long the walk repeats
MAX_SEED = 2**63 - 1

_FORGOTTEN = 1e-17  # a deviation that has fallen so far is none


@final
@dataclass(frozen=True)
class Walk(StepLink):
    """Ornstein-Uhlenbeck around (LO + HI)/2, clipped to [LO, HI]."""

    low_mbps: float  # Mbit/s, 0 or more
    high_mbps: float  # Mbit/s, not below low_mbps
    sigma_mbps: float  # Mbit/s, stationary standard deviation before clipping
    seed: int | None = None  # None: seed 0, and host i takes seed i

    def __post_init__(self) -> None:
        check_order("walk", self.low_mbps, self.high_mbps)
        check_rates("walk", SIGMA=self.sigma_mbps)
        check_seed("walk", self.seed)

    @property
    def steps(self) -> Steps:
        return _steps(self.low_mbps, self.high_mbps, self.sigma_mbps, self.seed or 0)

    def for_host(self, index: int) -> Walk:
        return self if self.seed is not None else replace(self, seed=index)

    def __str__(self) -> str:
        fields = ",".join(map(spelled, (self.low_mbps, self.high_mbps, self.sigma_mbps)))
        return f"walk:{fields}" if self.seed is None else f"walk:{fields},{self.seed}"


def check_seed(kind: str, seed: int | None) -> None:
    """Raises LinkError unless the seed is None or a whole number from 0 to MAX_SEED."""
    if seed is not None and not 0 <= seed <= MAX_SEED:
        raise LinkError(f"link {kind}: SEED is {seed:.6g}; it must be a whole number from 0 to 2^63 - 1")


def walk_rates(low_mbps: float, high_mbps: float, sigma_mbps: float, seed: int) -> NDArray[np.float64]:
    """Rates in Mbit/s of the LENGTH_S / STEP_S steps of one walk."""
    rho = math.exp(-STEP_S / RELAXATION_S)
    state = np.random.default_rng(seed).standard_normal(round(LENGTH_S / STEP_S))
    state[0] /= math.sqrt(1 - rho * rho)
    # x[n] = Σ ρ^k z[n-k], in log2(n) passes: after each, a sum of twice as many terms.
    shift, weight = 1, rho
    while shift < len(state) and weight > _FORGOTTEN:
        state[shift:] += weight * state[:-shift]
        shift, weight = 2 * shift, weight * weight
    state *= sigma_mbps * math.sqrt(1 - rho * rho)
    return np.clip((low_mbps + high_mbps) / 2 + state, low_mbps, high_mbps)


def walk_means(
    low_mbps: float,
    high_mbps: float,
    sigma_mbps: float,
    seeds: Iterable[int],
    start_s: float,
    step_s: float,
    count: int,
) -> NDArray[np.float64]:
    """Mean Mbit/s of `count` cells from `start_s` on, a row a seed: what `Walk(..., seed).means` gives, bit for bit."""
    rows = [Walk(low_mbps, high_mbps, sigma_mbps, seed).means(start_s, step_s, count) for seed in seeds]
    return np.array(rows, dtype=np.float64).reshape(len(rows), count)


@lru_cache(maxsize=512)
def _steps(low_mbps: float, high_mbps: float, sigma_mbps: float, seed: int) -> Steps:
    rates_mbps = walk_rates(low_mbps, high_mbps, sigma_mbps, seed)
    return Steps(STEP_S * np.arange(len(rates_mbps), dtype=np.float64), rates_mbps, LENGTH_S)

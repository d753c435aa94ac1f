"""The experiment's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Config:
    """What is simulated. Step sizes are multiples of 1/L, L the smoothness of f."""

    workers: int = 4
    layers: int = 8
    width: int = 64  # entries of a layer
    seed: int = 0
    eta_mbps: float = 0.016  # η, Mbit/s
    delta_mbps: float = 0.0016  # δ, Mbit/s: 20 s for all entries at 64 bits each
    slow_rad_per_s: float = 0.2  # θ, rad/s: a period of 16 s, many rounds
    fast_rad_per_s: float = 40.0  # θ, rad/s: a period of 0.08 s, less than a round
    compute_s: float = 0.05  # s, T_comp
    seconds: float = 1200.0  # s, simulated, after which a run ends
    rounds: int = 20_000  # after which it ends too
    reached: tuple[float, float] = (1e-4, 1e-8)  # relative gaps whose times are told; a run ends at the second
    entries: tuple[int, ...] = (16, 32, 48, 64, 96, 128)  # K of fixed top-k
    round_s: tuple[float, ...] = (0.25, 0.4, 0.6, 1.0, 2.0)  # s, T of Kimad and Kimad+
    steps: tuple[float, ...] = (0.1, 0.14, 0.19, 0.27, 0.37, 0.51, 0.71, 0.99, 1.37, 1.9)  # γ·L, tried for every method
    check_rounds: int = 4000  # of the theorems' checks
    check_round_s: float = 1.0  # s, T in them


QUICK = Config(
    seconds=60.0, entries=(32, 128), round_s=(0.6, 2.0), steps=(0.37, 1.37), check_rounds=200
)  # a look at the machinery: nothing is tuned, and little is reached

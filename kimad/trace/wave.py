"""Links that are a formula: a constant, and sin² in two spellings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.trace.limits import LinkError, check_order, check_rates, check_seconds, spelled
from kimad.trace.link import Link

_CELLS = 200  # cells of a period within each of which a sine hardly changes: by 1.6 % of its swing at most


@final
@dataclass(frozen=True)
class Const(Link):
    """A rate that never changes."""

    rate_mbps: float  # Mbit/s, 0 or more

    def __post_init__(self) -> None:
        check_rates("const", MBPS=self.rate_mbps)

    def mbps(self, t_s: float) -> float:
        return self.rate_mbps

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        return self.rate_mbps

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.rate_mbps * t_s

    def means(self, start_s: float, step_s: float, count: int) -> NDArray[np.float64]:
        return np.full(count, self.rate_mbps, dtype=np.float64)

    @property
    def resolution_s(self) -> float:
        return math.inf

    @property
    def period_s(self) -> float | None:
        return None

    def __str__(self) -> str:
        return f"const:{spelled(self.rate_mbps)}"


@final
@dataclass(frozen=True)
class Sine(Link):
    """LO + (HI - LO) · sin²(πt/PERIOD): lowest at the start, highest after half a period."""

    low_mbps: float  # Mbit/s, 0 or more
    high_mbps: float  # Mbit/s, not below low_mbps
    cycle_s: float  # s, above 0: from one trough to the next

    def __post_init__(self) -> None:
        check_order("sine", self.low_mbps, self.high_mbps)
        check_seconds("sine", PERIOD_S=self.cycle_s)

    def mbps(self, t_s: float) -> float:
        return self.low_mbps + (self.high_mbps - self.low_mbps) * math.sin(math.pi * t_s / self.cycle_s) ** 2

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        """LO + (HI - LO)/2 · (1 - cos(2πm/PERIOD) · sin(d)/d), m the midpoint, d = π(b - a)/PERIOD."""
        d = math.pi * (b_s - a_s) / self.cycle_s
        sinc = math.sin(d) / d if abs(d) > 1e-9 else 1.0
        cosine = math.cos(math.pi * (a_s + b_s) / self.cycle_s)
        return self.low_mbps + (self.high_mbps - self.low_mbps) / 2 * (1 - cosine * sinc)

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """LO · t + (HI - LO)/2 · (t - sin(2πt/PERIOD) · PERIOD/2π)."""
        turn_s = self.cycle_s / (2 * math.pi)
        swing = (self.high_mbps - self.low_mbps) / 2 * (t_s - turn_s * np.sin(t_s / turn_s))
        carried: NDArray[np.float64] = self.low_mbps * t_s + swing
        return carried

    @property
    def resolution_s(self) -> float:
        return self.cycle_s / _CELLS

    @property
    def period_s(self) -> float | None:
        return self.cycle_s

    def __str__(self) -> str:
        return f"sine:{spelled(self.low_mbps)},{spelled(self.high_mbps)},{spelled(self.cycle_s)}"


@final
@dataclass(frozen=True)
class PaperSine(Link):
    """η · sin²(θt) + δ, as the Kimad paper writes it."""

    eta_mbps: float  # η, Mbit/s: from trough to crest
    theta_rad_per_s: float  # θ, rad/s; the period is π/θ
    delta_mbps: float  # δ, Mbit/s: the trough

    def __post_init__(self) -> None:
        check_rates("paper-sine", ETA=self.eta_mbps, DELTA=self.delta_mbps, SUM=self.eta_mbps + self.delta_mbps)
        if not 4e-9 <= self.theta_rad_per_s <= 3e6:  # a period from MIN_S to MAX_S
            given = f"THETA is {self.theta_rad_per_s:g}"
            raise LinkError(f"link paper-sine: {given}; it must be from 4e-09 to 3e+06 rad/s")

    @property
    def sine(self) -> Sine:
        """The same as LO, HI and PERIOD."""
        return Sine(self.delta_mbps, self.delta_mbps + self.eta_mbps, math.pi / self.theta_rad_per_s)

    def mbps(self, t_s: float) -> float:
        return self.sine.mbps(t_s)

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        return self.sine.mean_mbps(a_s, b_s)

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.sine.carried_mbit(t_s)

    @property
    def resolution_s(self) -> float:
        return self.sine.resolution_s

    @property
    def period_s(self) -> float | None:
        return self.sine.period_s

    def __str__(self) -> str:
        fields = (self.eta_mbps, self.theta_rad_per_s, self.delta_mbps)
        return f"paper-sine:{','.join(map(spelled, fields))}"

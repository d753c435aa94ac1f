"""Links that switch between two rates by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

from kimad.trace.limits import MIN_S, LinkError, check_order, check_rates, check_seconds, spelled
from kimad.trace.steps import Steps
from kimad.trace.stepwise import StepLink


@final
@dataclass(frozen=True)
class Square(StepLink):
    """LO for half a period, then HI for the other half."""

    low_mbps: float  # Mbit/s, 0 or more
    high_mbps: float  # Mbit/s, not below low_mbps
    cycle_s: float  # s: from one beginning of LO to the next

    def __post_init__(self) -> None:
        check_order("square", self.low_mbps, self.high_mbps)
        check_seconds("square", PERIOD_S=self.cycle_s, HALF_PERIOD=self.cycle_s / 2)

    @property
    def steps(self) -> Steps:
        return _steps(((self.cycle_s / 2, self.low_mbps), (self.cycle_s / 2, self.high_mbps)))

    def __str__(self) -> str:
        return f"square:{spelled(self.low_mbps)},{spelled(self.high_mbps)},{spelled(self.cycle_s)}"


@final
@dataclass(frozen=True)
class Outage(StepLink):
    """A constant rate that is 0 for the last FOR seconds of every EVERY seconds."""

    rate_mbps: float  # Mbit/s, 0 or more, while it is up
    every_s: float  # s: from one outage to the next
    for_s: float  # s: how long one lasts; 0 to every_s

    def __post_init__(self) -> None:
        check_rates("outage", MBPS=self.rate_mbps)
        check_seconds("outage", EVERY_S=self.every_s)
        up_s = self.every_s - self.for_s
        if not (self.for_s == 0 or self.for_s >= MIN_S) or not (up_s == 0 or up_s >= MIN_S):
            given = f"FOR_S is {self.for_s:g}"
            raise LinkError(f"link outage: {given}; it must be a number of seconds from 0 to EVERY_S, {self.every_s:g}")

    @property
    def steps(self) -> Steps:
        parts = ((self.every_s - self.for_s, self.rate_mbps), (self.for_s, 0.0))
        return _steps(tuple(part for part in parts if part[0] > 0))

    def __str__(self) -> str:
        return f"outage:{spelled(self.rate_mbps)},{spelled(self.every_s)},{spelled(self.for_s)}"


@lru_cache(maxsize=256)
def _steps(parts: tuple[tuple[float, float], ...]) -> Steps:
    return Steps.lasting([seconds for seconds, _ in parts], [rate for _, rate in parts])

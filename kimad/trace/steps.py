"""A link whose rate is constant between given times: what every trace file is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kimad.trace.limits import MAX_MBPS, MAX_S, MIN_S, LinkError, spelled
from kimad.trace.link import Link

_SLACK = 1 - 1e-6  # a step of MIN_S may come out a little shorter as the difference of two times


@final
@dataclass(frozen=True, eq=False)
class Steps(Link):
    """Step i has the rate `rates_mbps[i]` and begins at `starts_s[i]`; at `end_s` it begins anew. Rates may be 0."""

    starts_s: NDArray[np.float64]  # s; rises, and begins with 0
    rates_mbps: NDArray[np.float64]  # Mbit/s; as many
    end_s: float  # s; above the last start
    source: str | None = field(default=None)  # the spec it was read by; None: spelled out

    def __post_init__(self) -> None:
        starts_s = np.array(self.starts_s, dtype=np.float64)
        rates_mbps = np.array(self.rates_mbps, dtype=np.float64)
        if starts_s.ndim != 1 or starts_s.shape != rates_mbps.shape or len(starts_s) == 0 or starts_s[0] != 0:
            raise LinkError("link steps: it needs one or more steps, a rate for each, and the first must begin at 0 s")
        with np.errstate(invalid="ignore"):
            steps_s = np.diff(starts_s, append=self.end_s)
        if not bool(np.all(steps_s >= MIN_S * _SLACK)) or not self.end_s <= MAX_S:
            raise LinkError(f"link steps: each step must last {MIN_S:g} s or more, and all of them {MAX_S:g} s or less")
        if not bool(np.all((rates_mbps >= 0) & (rates_mbps <= MAX_MBPS))):
            raise LinkError(f"link steps: each rate must be from 0 to {MAX_MBPS:g} Mbit/s")
        for name, array in (("starts_s", starts_s), ("rates_mbps", rates_mbps)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def lasting(cls, durations_s: ArrayLike, rates_mbps: ArrayLike, source: str | None = None) -> Steps:
        """Steps of the given durations, one after the other. Raises LinkError as the constructor does."""
        ends_s = np.cumsum(np.asarray(durations_s, dtype=np.float64))
        if len(ends_s) == 0:
            raise LinkError("link steps: there are no steps; at least one is needed")
        starts_s = np.concatenate([[0.0], ends_s[:-1]])
        return cls(starts_s, np.asarray(rates_mbps, dtype=np.float64), float(ends_s[-1]), source)

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """Seconds of each step."""
        return np.diff(self.starts_s, append=self.end_s)

    @property
    def steps(self) -> Steps:
        return self

    @cached_property
    def _carried(self) -> NDArray[np.float64]:
        """Mbit carried before each step, and before the end."""
        return np.concatenate([[0.0], np.cumsum(self.durations_s * self.rates_mbps)])

    def _locate(self, t_s: float) -> tuple[float, float, int]:
        """Number of the period, seconds since it began, and the step at that time."""
        turn = math.floor(t_s / self.end_s)
        phase_s = t_s - turn * self.end_s
        if phase_s >= self.end_s:  # by rounding
            turn, phase_s = turn + 1, 0.0
        phase_s = max(phase_s, 0.0)
        return turn, phase_s, int(np.searchsorted(self.starts_s, phase_s, side="right")) - 1

    def mbps(self, t_s: float) -> float:
        return float(self.rates_mbps[self._locate(t_s)[2]])

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        turn_a, phase_a_s, step_a = self._locate(a_s)
        turn_b, phase_b_s, step_b = self._locate(b_s)
        if b_s <= a_s or (turn_a, step_a) == (turn_b, step_b):
            return float(self.rates_mbps[step_a])
        # The rest of the first step, whole steps, the beginning of the last: no difference of large integrals.
        turns = turn_b - turn_a
        rest_s = (self.starts_s[step_a + 1] if step_a + 1 < len(self.starts_s) else self.end_s) - phase_a_s
        head_s = phase_b_s - self.starts_s[step_b]
        whole_s = turns * self.end_s + self.starts_s[step_b] - phase_a_s - rest_s
        whole_mbit = turns * self._carried[-1] + self._carried[step_b] - self._carried[step_a + 1]
        mbit = rest_s * self.rates_mbps[step_a] + max(whole_mbit, 0.0) + head_s * self.rates_mbps[step_b]
        return float(np.clip(mbit / (rest_s + max(whole_s, 0.0) + head_s), 0.0, self.rates_mbps.max()))

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        turn = np.floor(t_s / self.end_s)
        phase_s = np.clip(t_s - turn * self.end_s, 0.0, self.end_s)
        step = np.searchsorted(self.starts_s, phase_s, side="right") - 1
        within = self._carried[step] + (phase_s - self.starts_s[step]) * self.rates_mbps[step]
        carried: NDArray[np.float64] = turn * self._carried[-1] + within
        return carried

    @cached_property
    def _shortest_s(self) -> float:
        return float(self.durations_s.min())

    @property
    def resolution_s(self) -> float:
        return self._shortest_s

    @property
    def period_s(self) -> float | None:
        return self.end_s

    def __str__(self) -> str:
        if self.source is not None:
            return self.source
        pairs = zip(self.rates_mbps, self.durations_s, strict=True)
        return "steps:" + ",".join(f"{spelled(float(rate))},{spelled(float(seconds))}" for rate, seconds in pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Steps):
            return NotImplemented
        same = self.end_s == other.end_s and self.source == other.source
        return same and self._bytes() == other._bytes()

    def __hash__(self) -> int:
        return hash((self.end_s, self._bytes()))

    def _bytes(self) -> bytes:
        return self.starts_s.tobytes() + self.rates_mbps.tobytes()


def merged(
    durations_s: Sequence[float] | NDArray[np.float64], rates_mbps: Sequence[float] | NDArray[np.float64]
) -> Steps:
    """Steps in which neighbours of one rate are one step, so that a file has no more lines than it needs."""
    rates = np.asarray(rates_mbps, dtype=np.float64)
    durations = np.asarray(durations_s, dtype=np.float64)
    if len(rates) == 0:
        return Steps.lasting(durations, rates)
    firsts = np.flatnonzero(np.concatenate([[True], rates[1:] != rates[:-1]]))
    return Steps.lasting(np.add.reduceat(durations, firsts), rates[firsts])

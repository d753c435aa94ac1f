"""A link that is on or off at random: a Markov chain of two states in discrete time.

One step lasts q = min(MEAN_ON_S, MEAN_OFF_S, 10 s) / 20. A state ends after each step with probability q / its mean,
so its length is q times a geometric variable, with exactly the mean that was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np

from kimad.trace.limits import check_rates, check_seconds, spelled
from kimad.trace.steps import Steps
from kimad.trace.stepwise import StepLink
from kimad.trace.walk import LENGTH_S, check_seed

_MIN_CYCLES = 50  # of on and off: fewer have no mean to speak of
_MAX_CYCLES = 20_000


@final
@dataclass(frozen=True)
class Markov(StepLink):
    """ON for a random time with mean MEAN_ON_S, then OFF with mean MEAN_OFF_S, and so on. It begins with ON.

    About 20 minutes long, or 50 cycles where that is longer, or 20,000 where that is shorter; then it repeats.
    """

    on_mbps: float  # Mbit/s, 0 or more
    off_mbps: float  # Mbit/s, 0 or more
    mean_on_s: float  # s
    mean_off_s: float  # s
    seed: int | None = None  # None: seed 0, and host i takes seed i

    def __post_init__(self) -> None:
        check_rates("markov", ON_MBPS=self.on_mbps, OFF_MBPS=self.off_mbps)
        shortest, longest = 2e-5, 1e6  # steps of MIN_S; cycles that stay far below MAX_S in all
        check_seconds("markov", low=shortest, high=longest, MEAN_ON_S=self.mean_on_s, MEAN_OFF_S=self.mean_off_s)
        check_seed("markov", self.seed)

    @property
    def steps(self) -> Steps:
        return _steps(self.on_mbps, self.off_mbps, self.mean_on_s, self.mean_off_s, self.seed or 0)

    def for_host(self, index: int) -> Markov:
        return self if self.seed is not None else replace(self, seed=index)

    def __str__(self) -> str:
        fields = ",".join(map(spelled, (self.on_mbps, self.off_mbps, self.mean_on_s, self.mean_off_s)))
        return f"markov:{fields}" if self.seed is None else f"markov:{fields},{self.seed}"


@lru_cache(maxsize=512)
def _steps(on_mbps: float, off_mbps: float, mean_on_s: float, mean_off_s: float, seed: int) -> Steps:
    cycles = min(max(math.ceil(LENGTH_S / (mean_on_s + mean_off_s)), _MIN_CYCLES), _MAX_CYCLES)
    step_s = min(mean_on_s, mean_off_s, 10.0) / 20
    chances = np.array([step_s / mean_on_s, step_s / mean_off_s])
    lengths = np.random.default_rng(seed).geometric(chances, size=(cycles, 2)).reshape(-1)
    edges = np.concatenate([[0], np.cumsum(lengths)])  # in steps
    return Steps(step_s * edges[:-1], np.tile([on_mbps, off_mbps], cycles), float(step_s * edges[-1]))

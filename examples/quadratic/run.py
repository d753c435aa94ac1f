"""One run: the objective's gap at the end of each round, on the simulated clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from examples.quadratic.budget import Sender

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Limits:
    """When a run ends."""

    target: float  # relative gap that is good enough
    seconds: float  # s, simulated
    rounds: int


@final
@dataclass(frozen=True, eq=False)
class Run:
    """What came of one sender and one step size."""

    sender: Sender
    gamma: float  # step size
    t_s: Floats  # (n,) s, when each round ended
    gap: Floats  # (n,) (f(x) − f*) / (f(0) − f*) at its end

    @property
    def round_s(self) -> Floats:
        """(n,) s, how long each round took."""
        return np.diff(self.t_s, prepend=0.0)

    def seconds_to(self, gap: float) -> float | None:
        """Simulated seconds until the relative gap is at most `gap`; None if it never is."""
        below = np.flatnonzero(self.gap <= gap)
        return float(self.t_s[below[0]]) if len(below) else None

    def rank(self, target: float) -> tuple[float, float]:
        """Smaller is better: seconds to the target, and among those that never get there, the gap at the end."""
        reached_s = self.seconds_to(target)
        return (np.inf, float(self.gap[-1])) if reached_s is None else (reached_s, 0.0)


def tuned(runs: Iterable[Run], target: float) -> list[Run]:
    """The best step size of every sender, senders in the order in which they come."""
    best: dict[Sender, Run] = {}
    for run in runs:
        if run.sender not in best or run.rank(target) < best[run.sender].rank(target):
            best[run.sender] = run
    return list(best.values())

"""Objectives: each is one rule that picks a point on the frontier of step time against error."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.errors import ConfigError

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Points:
    """Candidate plans, each a point: arrays of one length, in no particular order."""

    step_s: Floats  # predicted seconds of the whole step
    cost_s: Floats  # seconds of coding and sending, not regarding overlap
    error: Floats  # relative squared error, 0 (nothing left out) .. 1 (nothing sent)
    compute_s: float  # seconds of the step without any communication


class Objective(ABC):
    """A rule without state: given the points of a frontier, the one to take."""

    adaptive: bool = True  # False: the plan does not depend on link or gradients

    @abstractmethod
    def pick(self, points: Points) -> int:
        """Index of the point to take."""

    @abstractmethod
    def target_s(self, compute_s: float) -> float | None:
        """Step time in seconds that may be used up once a point is taken, or None."""

    @abstractmethod
    def __str__(self) -> str:
        """The form that `parse_objective` reads."""


def _positive(what: str, value: float, *, allow_zero: bool = False, below: float = math.inf) -> None:
    low_ok = value >= 0 if allow_zero else value > 0
    if not (isinstance(value, (int, float)) and math.isfinite(value) and low_ok and value < below):
        low = "0 or more" if allow_zero else "above 0"
        high = "" if math.isinf(below) else f" and below {below:g}"
        raise ConfigError(f"{what} is {value!r}; it must be a finite number {low}{high}")


def _least_error_within(points: Points, limit_s: float) -> int:
    within = points.step_s <= limit_s
    if not within.any():
        return int(np.argmin(points.step_s))
    return int(np.argmin(np.where(within, points.error, np.inf)))


@final
@dataclass(frozen=True)
class StepTime(Objective):
    """Smallest error with a step time of at most `seconds` (the rule of Kimad, arXiv 2312.08053)."""

    seconds: float  # s, wanted upper bound of a step

    def __post_init__(self) -> None:
        _positive("StepTime seconds", self.seconds)

    def pick(self, points: Points) -> int:
        return _least_error_within(points, self.seconds)

    def target_s(self, compute_s: float) -> float | None:
        return self.seconds

    def __str__(self) -> str:
        return f"step-time:{self.seconds:g}"


@final
@dataclass(frozen=True)
class Overlap(Objective):
    """Smallest error with communication hidden behind backward, or at most `slack` x compute time beyond it.

    The aim of COVAP (arXiv 2311.04499): the budget is the overlap window.
    """

    slack: float = 0.0  # share of the compute time by which a step may grow

    def __post_init__(self) -> None:
        _positive("Overlap slack", self.slack, allow_zero=True)

    def pick(self, points: Points) -> int:
        return _least_error_within(points, points.compute_s * (1 + self.slack))

    def target_s(self, compute_s: float) -> float | None:
        return compute_s * (1 + self.slack)

    def __str__(self) -> str:
        return f"overlap:{self.slack:g}"


@final
@dataclass(frozen=True)
class ErrorBound(Objective):
    """Smallest cost with a relative squared error of at most `eps` (the aim of L-GreCo, MLSys 2024)."""

    eps: float  # relative squared error, 0 .. 1

    def __post_init__(self) -> None:
        _positive("ErrorBound eps", self.eps, below=1.0)

    def pick(self, points: Points) -> int:
        within = points.error <= self.eps
        if not within.any():
            return int(np.argmin(points.error))
        return int(np.argmin(np.where(within, points.cost_s, np.inf)))

    def target_s(self, compute_s: float) -> float | None:
        return None

    def __str__(self) -> str:
        return f"error-bound:{self.eps:g}"


@final
@dataclass(frozen=True)
class Progress(Objective):
    """Largest phi^kappa / t: phi = 1 - relative squared error, t = predicted step time.

    The square root of phi is the cosine between what is sent and what is owed, so the default
    is "cosine per second". Nothing has to be tuned.
    """

    kappa: float = 0.5  # exponent of phi

    def __post_init__(self) -> None:
        _positive("Progress kappa", self.kappa)

    def pick(self, points: Points) -> int:
        phi = np.maximum(1.0 - points.error, 1e-9)
        return int(np.argmax(self.kappa * np.log(phi) - np.log(np.maximum(points.step_s, 1e-9))))

    def target_s(self, compute_s: float) -> float | None:
        return None

    def __str__(self) -> str:
        return "progress" if self.kappa == 0.5 else f"progress:{self.kappa:g}"


@final
@dataclass(frozen=True)
class Fixed(Objective):
    """One option for every layer, whatever the link does; for comparison, and for who wants just that."""

    operator: str  # name of a compressor
    density: float = 1.0  # kept share of a layer's entries; sparse operators alone
    values: str = ""  # code of the kept values; sparse operators alone
    adaptive = False

    def __post_init__(self) -> None:
        _positive("Fixed density", self.density)
        if self.density > 1:
            raise ConfigError(f"Fixed density is {self.density!r}; it must be above 0 and at most 1")

    def pick(self, points: Points) -> int:
        return 0

    def target_s(self, compute_s: float) -> float | None:
        return None

    def __str__(self) -> str:
        return f"fixed:{self.operator}" + (f":{self.density:g}:{self.values}" if self.values else "")


@final
@dataclass(frozen=True)
class Off(Objective):
    """No hook at all: plain DDP. Understood by the launchers, refused by `attach`."""

    adaptive = False

    def pick(self, points: Points) -> int:
        return 0

    def target_s(self, compute_s: float) -> float | None:
        return None

    def __str__(self) -> str:
        return "off"

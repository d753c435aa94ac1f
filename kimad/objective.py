"""Objectives: each is one rule that picks a point on the frontier of step time against error."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import ALL_COMPRESSORS, Option, OptionError
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

    def scores(self, points: Points) -> Floats | None:
        """Logarithms of what `pick` makes as large as it can; None where a hard target decides."""
        return None

    @property
    def unit(self) -> str:
        """Of exp(scores), in words."""
        return ""

    @abstractmethod
    def __str__(self) -> str:
        """The form that `parse_objective` reads."""


def _positive(what: str, value: float, *, allow_zero: bool = False, below: float = math.inf) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not (number and (value > 0 or (allow_zero and value == 0)) and value < below):
        low = "0 or more" if allow_zero else "above 0"
        high = "" if math.isinf(below) else f" and below {below:g}"
        raise ConfigError(f"{what} is {value!r}; it must be a finite number {low}{high}")


def _text(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")


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
        return f"step-time:{_text(self.seconds)}"


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
        return f"overlap:{_text(self.slack)}"


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
        return f"error-bound:{_text(self.eps)}"


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
        return int(np.argmax(self.scores(points)))

    def scores(self, points: Points) -> Floats:
        phi = np.maximum(1.0 - points.error, 1e-9)
        scores: Floats = self.kappa * np.log(phi) - np.log(np.maximum(points.step_s, 1e-9))
        return scores

    def target_s(self, compute_s: float) -> float | None:
        return None

    @property
    def unit(self) -> str:
        return "cosine/s" if self.kappa == 0.5 else "progress/s"

    def __str__(self) -> str:
        return "progress" if self.kappa == 0.5 else f"progress:{_text(self.kappa)}"


@final
@dataclass(frozen=True)
class Fixed(Objective):
    """One option for every layer, whatever the link does; for comparison, and for who wants just that."""

    operator: str  # name of a compressor
    density: float = 1.0  # kept share of a layer's entries; sparse operators alone
    values: str = ""  # code of the kept values; operators that have some alone
    count: int = 0  # levels of qsgd, rank of lowrank
    threshold: float = 0.0  # smallest kept magnitude; threshold alone
    adaptive = False

    def __post_init__(self) -> None:
        _positive("Fixed density", self.density)
        if self.density > 1:
            raise ConfigError(f"Fixed density is {self.density!r}; it must be above 0 and at most 1")
        found = next((c for c in ALL_COMPRESSORS if c.name == self.operator), None)
        if found is None:
            known = ", ".join(c.name for c in ALL_COMPRESSORS)
            raise ConfigError(f"Fixed operator is {self.operator!r}; allowed: {known}")
        if not found.sparse and self.density != 1:
            raise ConfigError(f"Fixed density is {self.density!r}; {found.name} takes none")
        if found.sparse and self.count:
            raise ConfigError(f"Fixed count is {self.count!r}; {found.name} takes a density")
        if found.name == "threshold" and not self.threshold > 0:
            raise ConfigError(f"Fixed threshold is {self.threshold!r}; it must be above 0")
        try:
            found.body_bytes((2, 2), Option(found.name, 1 if found.sparse else self.count, self.values, self.threshold))
        except OptionError as error:
            raise ConfigError(f"Fixed: {error}") from None

    def pick(self, points: Points) -> int:
        return 0

    def target_s(self, compute_s: float) -> float | None:
        return None

    def __str__(self) -> str:
        parts = [f"fixed:{self.operator}"]
        if self.threshold:
            parts.append(_text(self.threshold))
        if self.count:
            parts.append(str(self.count))
        elif self.values:
            parts.append(_text(self.density))
        return ":".join([*parts, self.values] if self.values else parts)


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

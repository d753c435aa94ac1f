"""What EF21 promises (arXiv 2106.05203), for a compressor with ‖C(v) − v‖² <= (1 − α) ‖v‖² in every round.

    θ = 1 − sqrt(1 − α),   β = (1 − α) / θ,   G⁰ = 1/M Σ_m ‖u_m⁰ − ∇f_m(x⁰)‖²

    Theorem 1, γ <= 1 / (L + L~ sqrt(β/θ)):
        1/T Σ_{t<T} ‖∇f(x^t)‖² <= 2 (f(x⁰) − f*) / (γT) + G⁰ / (θT)
    Theorem 2, f strongly convex with μ, γ <= min(1 / (L + L~ sqrt(2β/θ)), θ / 2μ):
        f(x^t) − f* <= (1 − γμ)^t (f(x⁰) − f* + γ/θ G⁰)

The proofs use the contraction of single rounds alone, so α may be that of the worst round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from examples.quadratic.problem import Quadratics

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Contraction:
    """θ and β of an α above 0 and at most 1."""

    alpha: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha:g}; it must be above 0 and at most 1")

    @property
    def theta(self) -> float:
        return 1 - float(np.sqrt(1 - self.alpha))

    @property
    def beta(self) -> float:
        return (1 - self.alpha) / self.theta


def step_1(problem: Quadratics, of: Contraction) -> float:
    """Largest γ of Theorem 1."""
    return 1 / (problem.smoothness + problem.mean_smoothness * float(np.sqrt(of.beta / of.theta)))


def step_2(problem: Quadratics, of: Contraction) -> float:
    """Largest γ of Theorem 2."""
    smooth = 1 / (problem.smoothness + problem.mean_smoothness * float(np.sqrt(2 * of.beta / of.theta)))
    return min(smooth, of.theta / (2 * problem.strength))


def bound_1(problem: Quadratics, of: Contraction, gamma: float, start_error: float, rounds: int) -> float:
    """Of the mean squared norm of the gradient over `rounds` rounds; `start_error` is G⁰."""
    return 2 * problem.start_gap / (gamma * rounds) + start_error / (of.theta * rounds)


def bound_2(problem: Quadratics, of: Contraction, gamma: float, start_error: float, rounds: int) -> Floats:
    """(rounds,) Of f(x^t) − f* in each round t = 0, 1, ..."""
    start = problem.start_gap + gamma / of.theta * start_error
    return start * np.power(1 - gamma * problem.strength, np.arange(rounds, dtype=np.float64))

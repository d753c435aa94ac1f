"""EF21's theorems, checked on a run in which K is another in every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from examples.quadratic.allocation import ALLOCATIONS
from examples.quadratic.config import Config
from examples.quadratic.knapsack import options
from examples.quadratic.problem import make
from examples.quadratic.theory import Contraction, bound_1, bound_2, step_1, step_2
from examples.quadratic.uplink import descend, entries_on, least_entries
from kimad.trace import PaperSine


@final
@dataclass(frozen=True)
class Check:
    """One theorem with one compressor."""

    theorem: int
    allocation: str
    alpha: float  # that the worst round is sure of
    least_kept: float  # share of the energy that the worst message really kept; at least alpha
    gamma_l: float  # step size times L, the largest that the theorem allows
    value: float  # Theorem 1: mean squared norm of the gradient; 2: f − f* in the last round
    bound: float  # what the theorem allows it to be
    nearest: float  # Theorem 1: value / bound; 2: the largest such quotient of all rounds

    @property
    def holds(self) -> bool:
        return self.nearest <= 1 and self.alpha <= self.least_kept


def alpha_of(allocation: str, entries: int, layers: int, width: int) -> float:
    """The α that a message of `entries` is sure of, entries being at least one a layer.

    One density: that of the layer with the fewest. The whole vector: K/d. The knapsack: it leaves out no more than
    the largest of its options that all layers could have.
    """
    if allocation == "whole":
        return entries / (layers * width)
    each = entries // layers
    return float(max(k for k in options(width) if k <= each) if allocation == "knapsack" else each) / width


def check_all(config: Config, link: PaperSine) -> list[Check]:
    """Both theorems with every compressor, K following the link."""
    problem = make(config.workers, config.layers, config.width, config.seed)
    layers, width = config.layers, config.width
    comm_s = (config.check_round_s - config.compute_s) / 2
    fewest = least_entries(link, comm_s, layers, layers * width)
    entries = entries_on(link, config.compute_s, comm_s, config.check_rounds, layers, layers * width)
    checks = []
    for allocation, compress in ALLOCATIONS.items():
        of = Contraction(alpha_of(allocation, fewest, layers, width))
        gammas = (step_1(problem, of), step_2(problem, of))
        run = descend(problem, compress, entries, np.array(gammas))
        known = (allocation, of.alpha, run.least_kept)
        mean = float(run.squared_norm[:, 0].mean())
        bound = bound_1(problem, of, gammas[0], run.start_error, len(entries))
        checks.append(Check(1, *known, gammas[0] * problem.smoothness, mean, bound, mean / bound))
        gap, bounds = run.gap[:, 1], bound_2(problem, of, gammas[1], run.start_error, len(entries))
        nearest = float(np.max(gap / bounds))
        checks.append(Check(2, *known, gammas[1] * problem.smoothness, float(gap[-1]), float(bounds[-1]), nearest))
    return checks

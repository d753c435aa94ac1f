"""Solvers: which option each layer takes, under one interface."""

from kimad.solver.interface import Choice, Solver, all_bucket_sums
from kimad.solver.knapsack import Knapsack
from kimad.solver.lagrangian import Lagrangian
from kimad.solver.nested import Nested
from kimad.solver.uniform import Uniform

ALL_SOLVERS: dict[str, Solver] = {
    "lagrangian": Lagrangian(),
    "nested": Nested(),
    "knapsack": Knapsack(),
    "uniform": Uniform(),
}

__all__ = ["ALL_SOLVERS", "Choice", "Knapsack", "Lagrangian", "Nested", "Solver", "Uniform", "all_bucket_sums"]

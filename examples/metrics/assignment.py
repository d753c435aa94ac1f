"""2-Wasserstein distance of two equally large point clouds, exactly, by the best assignment."""

from __future__ import annotations

from torch import Tensor, cdist


def w2(a: Tensor, b: Tensor) -> float:
    """sqrt(min over permutations of mean ‖a_i − b_π(i)‖²) of [N, D] and [N, D]. Raises ValueError for other shapes."""
    from scipy.optimize import linear_sum_assignment

    if a.shape != b.shape or a.dim() != 2 or not len(a):
        raise ValueError(f"clouds have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be equal, and not empty")
    cost = cdist(a.double(), b.double()).square().numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean() ** 0.5)

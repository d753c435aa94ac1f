"""Maximum mean discrepancy with inverse multiquadratics, as WAE-MMD has it (arXiv 1711.01558).

k(x, y) = Σ_s C_s / (C_s + ‖x − y‖²),   C_s = 2 D s,   s = .1, .2, .5, 1, 2, 5, 10
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """The unbiased estimate for two clouds of equally many points, [N, D]."""
    count = len(a)
    off = ~torch.eye(count, dtype=torch.bool)
    inside = (_kernel(a, a)[off].sum() + _kernel(b, b)[off].sum()) / (count * (count - 1))
    return inside - 2 * _kernel(a, b).mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    squares = (a[:, None] - b[None]).square().sum(dim=2)
    total = torch.zeros_like(squares)
    for scale in SCALES:
        constant = 2 * a.shape[1] * scale
        total = total + constant / (constant + squares)
    return total

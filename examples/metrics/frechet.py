"""Fréchet distance of two clouds of points, taken as Gaussians.

    d² = ‖m_a − m_b‖² + tr(S_a + S_b − 2 (S_a^½ S_b S_a^½)^½)

The same formula as FID (arXiv 1706.08500), on whatever features it is given: never to be compared with one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from examples.metrics.gaussian_w2 import gaussian_w2_squared


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """d² of [N, D] and [M, D], in float64. Raises ValueError for fewer than two points, or other dimensions."""
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}; two or more rows of one length")
    (mean_a, cov_a), (mean_b, cov_b) = (_moments(cloud.double()) for cloud in (a, b))
    return float(gaussian_w2_squared(mean_a, cov_a, mean_b, cov_b))


def _moments(cloud: Tensor) -> tuple[Tensor, Tensor]:
    return cloud.mean(dim=0), torch.cov(cloud.T).reshape(cloud.shape[1], cloud.shape[1])

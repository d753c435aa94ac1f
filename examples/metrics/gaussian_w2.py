"""Closed-form squared 2-Wasserstein distance of two Gaussians.

    W2² = ‖m_1 − m_2‖² + tr S_1 + tr S_2 − 2 Σ sqrt(eig(R S_1 R)),   R = S_2^½

Only eigenvalues are differentiated: eigenvectors have no gradient where eigenvalues are equal, and there the optimum of
most uses lies. `clamp_min(0) + eps` under the root keeps a gradient in directions without any spread.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_w2_squared(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor, eps: float = 0.0) -> Tensor:
    """W2² of N(mean_1, cov_1) and N(mean_2, cov_2), [D] and [D, D]; differentiable in the first two."""
    root = symmetric_root(cov_2.detach())
    product = root @ cov_1 @ root
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)
    spread = cov_1.trace() + cov_2.trace() - 2 * (eigenvalues.clamp_min(0) + eps).sqrt().sum()
    distance: Tensor = (mean_1 - mean_2).square().sum() + spread
    return distance


def standard_w2_squared(mean: Tensor, cov: Tensor, eps: float = 1e-5) -> Tensor:
    """W2² of N(mean, cov) and N(0, I): ‖m‖² + Σ (sqrt(eig_j) − 1)²."""
    eigenvalues = torch.linalg.eigvalsh((cov + cov.T) / 2)
    distance: Tensor = mean.square().sum() + ((eigenvalues.clamp_min(0) + eps).sqrt() - 1).square().sum()
    return distance


def diagonal_w2_squared(mean: Tensor, variance: Tensor, eps: float = 1e-5) -> Tensor:
    """The same of N(mean, diag(variance)): ‖m‖² + Σ (s_j − 1)². It sees no correlation."""
    return mean.square().sum() + ((variance.clamp_min(0) + eps).sqrt() - 1).square().sum()


def symmetric_root(matrix: Tensor) -> Tensor:
    """S^½ of a symmetric matrix without negative eigenvalues; not to be differentiated."""
    eigenvalues, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = vectors * eigenvalues.clamp_min(0).sqrt() @ vectors.T
    return root

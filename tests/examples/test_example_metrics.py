"""Distances by which the examples' results are told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from examples.data.load import load_dataset
from examples.metrics.assignment import w2
from examples.metrics.features import fit_features
from examples.metrics.frechet import frechet_distance
from examples.metrics.gaussian_w2 import diagonal_w2_squared, gaussian_w2_squared, standard_w2_squared


def covariance(seed: int, width: int = 6) -> Tensor:
    a = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T / width


def mean(seed: int, width: int = 6) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)


def by_scipy(m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> float:
    root = sqrtm(s2.numpy())
    cross = np.real(np.trace(sqrtm(root @ s1.numpy() @ root)))
    return float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross)


@pytest.mark.parametrize("seed", range(5))
def test_w2_against_scipy(seed: int) -> None:
    given = mean(seed), covariance(seed), mean(seed + 9), covariance(seed + 9)
    assert float(gaussian_w2_squared(*given)) == pytest.approx(by_scipy(*given), rel=1e-9)
    assert float(gaussian_w2_squared(*given)) == pytest.approx(float(gaussian_w2_squared(*given[2:], *given[:2])))
    zero, one = torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
    assert float(standard_w2_squared(*given[:2], eps=0.0)) == pytest.approx(by_scipy(*given[:2], zero, one), rel=1e-9)


def test_w2_of_what_is_known() -> None:
    one = torch.eye(3, dtype=torch.float64)
    zero, moved = torch.zeros(3, dtype=torch.float64), torch.tensor([3.0, 0, 0], dtype=torch.float64)
    assert float(gaussian_w2_squared(zero, one, zero, one)) == pytest.approx(0.0, abs=1e-12)
    assert float(gaussian_w2_squared(moved, one, zero, one)) == pytest.approx(9.0)
    spread = torch.diag(torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64))
    assert float(standard_w2_squared(zero, spread, eps=0.0)) == pytest.approx(1 + 0.25)
    assert float(diagonal_w2_squared(zero, spread.diagonal(), eps=0.0)) == pytest.approx(1 + 0.25)
    correlated = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    assert float(standard_w2_squared(zero[:2], correlated, eps=0.0)) > 0.3
    assert float(diagonal_w2_squared(zero[:2], correlated.diagonal(), eps=0.0)) == pytest.approx(0.0), (
        "it does not see it"
    )


def test_the_root_is_the_matrix_s_own_and_not_entry_by_entry() -> None:
    s = covariance(3)
    wrong = s.trace() + 6 - 2 * s.clamp_min(0).sqrt().trace()
    right = standard_w2_squared(torch.zeros(6, dtype=torch.float64), s, eps=0.0)
    assert abs(float(right - wrong)) > 0.01 * float(right)


@pytest.mark.parametrize("seed", range(3))
def test_w2_gradient_against_finite_differences(seed: int) -> None:
    m, s = mean(seed).requires_grad_(), covariance(seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: standard_w2_squared(a, (b + b.T) / 2), (m, s))
    other = mean(seed + 5), covariance(seed + 5)
    assert torch.autograd.gradcheck(lambda a, b: gaussian_w2_squared(a, (b + b.T) / 2, *other), (m, s))


SINGULAR = {
    "identity": torch.eye(5),
    "repeated eigenvalues": torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0, 1.0])),
    "rank deficient": torch.ones(5, 5),
    "zero": torch.zeros(5, 5),
}


@pytest.mark.parametrize("kind", SINGULAR)
def test_w2_gradient_is_finite_where_eigenvectors_have_none(kind: str) -> None:
    s = SINGULAR[kind].clone().requires_grad_()
    standard_w2_squared(torch.zeros(5), s).backward()  # type: ignore[no-untyped-call]
    assert s.grad is not None
    assert bool(s.grad.isfinite().all())
    assert float(s.grad.abs().max()) < 1 / 1e-5**0.5
    if kind == "identity":
        assert float(s.grad.abs().max()) < 1e-4, "the optimum"
    else:
        assert float(s.grad.abs().max()) > 1e-3, "a direction without spread is told to spread"


def test_frechet_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(500, 4, generator=generator)
    b = torch.randn(400, 4, generator=generator) * torch.tensor([1.0, 2.0, 1.0, 0.5]) + 1
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a + torch.tensor([1.0, 2.0, 0.0, 0.0])) == pytest.approx(5.0, rel=1e-6)
    expected = by_scipy(a.double().mean(0), torch.cov(a.double().T), b.double().mean(0), torch.cov(b.double().T))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    for wrong in (torch.randn(5, 3), torch.randn(1, 4), torch.randn(4)):
        with pytest.raises(ValueError, match="features have shapes"):
            frechet_distance(a, wrong)


def test_w2_of_clouds_against_every_permutation() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 2, generator=generator)
    every = [float((a - b[list(p)]).square().sum(dim=1).mean()) for p in itertools.permutations(range(6))]
    assert w2(a, b) == pytest.approx(min(every) ** 0.5, rel=1e-5)
    assert w2(a, a.flip(0)) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ValueError, match="must be equal"):
        w2(a, b[:3])


def test_features_tell_digits_from_noise() -> None:
    features = fit_features(load_dataset("digits"))
    assert features.accuracy is not None
    assert features.accuracy > 0.95
    assert features.floor < 0.02 * features.noise
    assert features.of(load_dataset("digits").test.images).shape == (len(features.test), 32)

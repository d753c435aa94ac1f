"""The model and the data of the ResNet example."""

import pytest
import torch

pytest.importorskip("sklearn")

from examples.resnet.data import Batches, Digits, load_digits
from examples.resnet.model import ResNet18


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(12)


def test_the_model_has_the_parameters_of_the_cifar_resnet18() -> None:
    assert sum(parameter.numel() for parameter in ResNet18().parameters()) == 11_173_962


def test_no_tap_of_a_kernel_is_idle_at_this_image_size() -> None:
    """On a 1x1 feature map eight of nine taps see padding alone, and a sparse gradient would look better than it is."""
    torch.manual_seed(0)
    model = ResNet18()
    model(torch.randn(2, 3, 12, 12)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        taps = parameter.grad.abs().amax(dim=(0, 1)) if parameter.dim() == 4 else parameter.grad.abs().max()
        assert taps.min() > 0, name


def test_the_digits_are_upsampled_and_standardised(digits: Digits) -> None:
    assert digits.images.shape == (1797, 1, 12, 12)
    assert sorted(set(digits.labels.tolist())) == list(range(10))
    assert abs(digits.images.mean().item()) < 1e-4
    assert digits.images.std().item() == pytest.approx(1.0, abs=1e-4)


def draw(digits: Digits, *, seed: int = 1, rank: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = Batches(digits, 4, seed=seed, rank=rank, noise=0.5, shift=2)
    return [batches.draw() for _ in range(3)]


def test_the_same_seed_and_rank_draw_the_same_batches(digits: Digits) -> None:
    for (images, labels), (images_again, labels_again) in zip(draw(digits), draw(digits), strict=True):
        assert images.shape == (4, 3, 12, 12)
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)


@pytest.mark.parametrize(("seed", "rank"), [(2, 0), (1, 1)])
def test_another_seed_or_rank_draws_others(digits: Digits, seed: int, rank: int) -> None:
    assert not torch.equal(draw(digits)[0][0], draw(digits, seed=seed, rank=rank)[0][0])

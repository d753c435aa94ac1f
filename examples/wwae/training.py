"""The training loop, on one process or on each rank of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from examples.data.dataset import Dataset
from examples.wwae.model import AutoEncoder, Output
from examples.wwae.moments import Shared, own
from examples.wwae.objective import Method, Parts, loss


@final
@dataclass(frozen=True)
class Settings:
    """How one model is trained."""

    method: Method
    steps: int = 1400
    batch: int = 128  # images of a step, all ranks together
    rate: float = 1e-3  # of Adam; a cosine leads it to 0
    latent: int = 8  # dimensions
    seed: int = 0


def make_model(settings: Settings, dataset: Dataset) -> AutoEncoder:
    """The same on every rank."""
    torch.manual_seed(settings.seed)
    return AutoEncoder(tuple(dataset.train.images.shape[1:]), settings.latent)


def train(
    model: Callable[..., Output], parameters: Iterator[nn.Parameter], settings: Settings, dataset: Dataset,
    rank: int = 0, world_size: int = 1, shared: Shared = own,
) -> Iterator[Parts]:  # fmt: skip
    """Train, and yield what each step's loss was. model: an AutoEncoder, or DDP around one.

    Every rank draws the whole batch and takes its part, so that ranks together do what one process would.
    """
    optimizer = torch.optim.Adam(parameters, settings.rate)
    images = dataset.train.images
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        mine, noise, prior = _draw(images, settings, step)
        mine, noise, prior = (part[rank::world_size] for part in (mine, noise, prior))
        optimizer.zero_grad()
        output = model(mine, torch.zeros_like(noise) if settings.method.deterministic else noise)
        parts = loss(settings.method, output, mine, prior, shared)
        parts.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield parts


def _draw(images: Tensor, settings: Settings, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, noise of the posterior, and samples of the prior of one step."""
    generator = torch.Generator().manual_seed(1_000_003 * settings.seed + step)
    rows = torch.randint(len(images), (settings.batch,), generator=generator)
    noise, prior = torch.randn(2, settings.batch, settings.latent, generator=generator)
    return images[rows], noise, prior

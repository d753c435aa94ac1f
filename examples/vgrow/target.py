"""What is to be generated: points around modes in the plane, or images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from examples.data.dataset import DataError, Dataset
from examples.data.load import load_dataset

NEAR = 3.0  # standard deviations within which a point belongs to its mode
FOUND = 0.1  # of a mode's fair share, with which it counts as found
PER_MODE = 200  # points of each mode in either part
RING_RADIUS, RING_STD, GRID_STD = 2.0, 0.1, 0.05


@final
@dataclass(frozen=True)
class Target:
    """Rows to learn from, and rows to be judged by."""

    name: str
    train: Tensor  # [N, D]
    test: Tensor  # [M, D]
    modes: Tensor | None = None  # [K, 2] in the plane
    std: float = 0.0  # of the points around a mode
    dataset: Dataset | None = None  # of images, which are rows from -1 to 1 here

    @property
    def kind(self) -> str:
        """Its name without the place of its files."""
        return self.name.partition(":")[0]

    @property
    def bound(self) -> float:
        """Largest magnitude of a coordinate."""
        return 1.0 if self.modes is None else 4.0 * float(self.modes.abs().max())

    def images(self, rows: Tensor) -> Tensor:
        """Rows as images from 0 to 1."""
        if self.dataset is None:
            raise ValueError(f"{self.name} has no images")
        return (rows.view(-1, *self.dataset.train.images.shape[1:]) + 1) / 2


def make_target(name: str, seed: int = 0) -> Target:
    """ring, grid25, or images by a name that `load_dataset` takes. Raises DataError."""
    if name == "ring":
        angles = 2 * torch.pi * torch.arange(8) / 8
        return _plane(name, RING_RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1), RING_STD, seed)
    if name == "grid25":
        places = torch.arange(-2.0, 3.0)
        return _plane(name, torch.cartesian_prod(places, places), GRID_STD, seed)
    try:
        dataset = load_dataset(name, seed)
    except DataError as error:
        raise DataError(str(error).replace("allowed: ", "allowed: ring, grid25, ")) from None
    train, test = (2 * part.images.flatten(1) - 1 for part in (dataset.train, dataset.test))
    return Target(name, train, test, dataset=dataset)


def _plane(name: str, modes: Tensor, std: float, seed: int) -> Target:
    generator = torch.Generator().manual_seed(seed)
    around = modes.repeat(PER_MODE, 1)
    train, test = (around + std * torch.randn(around.shape, generator=generator) for _ in range(2))
    return Target(name, train, test, modes, std)

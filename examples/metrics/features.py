"""Features in which images are compared: the last hidden layer of a small classifier, trained here on the same data.

Without labels the leading principal components of the pixels take its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.data.dataset import Dataset, Split
from examples.metrics.frechet import frechet_distance

WIDTH = 32
HIDDEN = 256
STEPS, BATCH, RATE = 1500, 64, 1e-3


@final
@dataclass(frozen=True)
class Features:
    """Images to rows, and what a distance between rows is to be seen beside."""

    name: str
    of: Callable[[Tensor], Tensor]  # images [N, C, H, W] to [N, 32 at most]
    classify: Callable[[Tensor], Tensor] | None  # images to classes [N]
    accuracy: float | None  # of that, on the test part
    test: Tensor  # features of the test part
    floor: float  # distance of the training part to the test part: nothing real is nearer
    noise: float  # distance of uniform noise to the test part

    def distance(self, images: Tensor) -> float:
        """Fréchet distance to the test part."""
        return frechet_distance(self.of(images), self.test)

    def distance_to(self, images: Tensor, split: Split) -> float:
        """Fréchet distance to another part."""
        return frechet_distance(self.of(images), self.of(split.images))


def fit_features(dataset: Dataset, seed: int = 0) -> Features:
    """Train the classifier on the training part; a few seconds."""
    accuracy: float | None = None
    classify: Callable[[Tensor], Tensor] | None = None
    if dataset.train.labels is None:
        name, of = "principal components of pixels", _components(dataset.train.images)
    else:
        name, (of, classify) = "classifier", _classifier(dataset, seed)
        right = [a == b for a, b in zip(classify(dataset.test.images).tolist(), _labels(dataset.test), strict=True)]
        accuracy = sum(right) / len(right)
    test = of(dataset.test.images)
    noise = torch.rand(dataset.test.images.shape, generator=torch.Generator().manual_seed(seed))
    floor = frechet_distance(of(dataset.train.images), test)
    return Features(name, of, classify, accuracy, test, floor, frechet_distance(of(noise), test))


def _labels(split: Split) -> list[int]:
    found: list[int] = split.labels.tolist() if split.labels is not None else []
    return found


def _classifier(dataset: Dataset, seed: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    images, labels = dataset.train.images, dataset.train.labels
    assert labels is not None  # noqa: S101 - for the type checker
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(dataset.size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH), nn.ReLU()
        )
        head = nn.Linear(WIDTH, int(labels.max()) + 1)
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], RATE)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(STEPS):
            rows = torch.randint(len(images), (BATCH,), generator=generator)
            noisy = images[rows] + 0.05 * torch.randn(images[rows].shape, generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(head(body(noisy)), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def of(some: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = body(some)
        return found

    def classify(some: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = head(body(some)).argmax(dim=1)
        return found

    return of, classify


def _components(images: Tensor) -> Callable[[Tensor], Tensor]:
    flat = images.flatten(1).double()
    mean = flat.mean(dim=0)
    _, _, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    basis = directions[:WIDTH].T

    def of(some: Tensor) -> Tensor:
        found: Tensor = (some.flatten(1).double() - mean) @ basis
        return found

    return of

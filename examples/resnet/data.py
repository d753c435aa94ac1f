"""scikit-learn's digits: 1797 scanned digits of 8x8 pixels, which ship inside the package (nothing is downloaded)."""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Digits:
    """All images, upsampled once and standardised, and their labels."""

    images: torch.Tensor  # float32 [1797, 1, image_size, image_size], mean 0, standard deviation 1
    labels: torch.Tensor  # int64 [1797]


def load_digits(image_size: int) -> Digits:
    """Read the digits and upsample them bilinearly to ``image_size`` x ``image_size``."""
    from sklearn.datasets import load_digits as sklearn_digits

    images_raw, labels_raw = sklearn_digits(return_X_y=True)
    images = torch.as_tensor(images_raw, dtype=torch.float32).reshape(-1, 1, 8, 8)
    images = functional.interpolate(images, size=(image_size, image_size), mode="bilinear", align_corners=False)
    return Digits((images - images.mean()) / images.std(), torch.as_tensor(labels_raw, dtype=torch.int64))


class Batches:
    """An endless stream of random batches for one rank: the same seed and rank give the same batches in every run.

    Args:
        digits: what to draw from, with replacement.
        batch: images in a batch.
        seed: of the run.
        rank: of this process; every rank draws from a stream of its own.
        noise: standard deviation of Gaussian noise added to the pixels, which have standard deviation 1.
        shift: largest random shift of the whole batch in pixels, up, down, left and right.
    """

    def __init__(self, digits: Digits, batch: int, *, seed: int, rank: int, noise: float, shift: int) -> None:
        self._digits = digits
        self._batch = batch
        self._noise = noise
        self._shift = shift
        self._generator = torch.Generator().manual_seed(1_000_003 * seed + rank)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch: images [batch, 3, size, size] and labels [batch]."""
        generator = self._generator
        index = torch.randint(len(self._digits.labels), (self._batch,), generator=generator)
        images = self._digits.images[index]
        if self._shift:
            moves = torch.randint(-self._shift, self._shift + 1, (self._batch, 2), generator=generator).tolist()
            images = torch.stack([image.roll(move, (1, 2)) for image, move in zip(images, moves, strict=True)])
        images = images.expand(-1, 3, -1, -1)
        return images + self._noise * torch.randn(images.shape, generator=generator), self._digits.labels[index]

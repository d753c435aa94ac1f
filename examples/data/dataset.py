"""What every reader gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor


class DataError(Exception):
    """Data that cannot be used: says which file or name, what it holds, and what is needed."""


@final
@dataclass(frozen=True)
class Split:
    """Images, and their classes where these are known."""

    images: Tensor  # float32 [N, C, H, W], 0 to 1
    labels: Tensor | None  # int64 [N]

    def __len__(self) -> int:
        return len(self.images)


@final
@dataclass(frozen=True)
class Dataset:
    """Three parts without a common image: to train on, to choose settings with, and to tell results of."""

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def size(self) -> int:
        """Numbers in an image."""
        return self.train.images[0].numel()

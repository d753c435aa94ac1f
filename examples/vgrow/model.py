"""Plain networks: of normal noise to points or images, and of these to a logit."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn


def layers(sizes: list[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers with an activation between each two."""
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [nn.Linear(a, b), activation()]
    return nn.Sequential(*parts[:-1])


@final
class Generator(nn.Module):
    """[N, noise] to [N, size]; with a bound to (-1, 1) where it makes images."""

    def __init__(self, noise: int, hidden: list[int], size: int, bounded: bool) -> None:
        super().__init__()
        self.noise = noise
        self.body = layers([noise, *hidden, size], nn.ReLU)
        self._bounded = bounded

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.body(z)
        return torch.tanh(made) if self._bounded else made


@final
class Critic(nn.Module):
    """[N, size] to [N] logits: above 0 for data."""

    def __init__(self, size: int, hidden: list[int]) -> None:
        super().__init__()
        self.body = layers([size, *hidden, 1], nn.LeakyReLU)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)[:, 0]
        return logits

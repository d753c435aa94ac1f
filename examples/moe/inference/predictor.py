"""Which experts the next token of a sequence will visit, in all layers, before the first of them computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from examples.moe.inference.outlook import Floats


class Predictor(ABC):
    """Sees only tokens that are there, and paths that were taken. The router stays the authority."""

    name: str

    def reset(self, sequences: int) -> None:  # noqa: B027 - those without memory have nothing to forget
        """Forget all, and be ready for so many sequences."""

    @abstractmethod
    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        """The probability of each expert for the next token of sequences `rows`: [n, layers, experts]."""

    def observe(self, rows: Sequence[int], paths: Tensor) -> None:  # noqa: B027
        """The paths [n, layers, k] that those tokens have taken, after the step."""


def counted(tokens: Tensor, paths: Tensor, vocabulary: int, experts: int) -> Tensor:
    """How often each token went to each expert: float32 [vocabulary, layers, experts].

    tokens: int64 [n]; paths: int64 [n, layers, k].
    """
    layers = paths.shape[1]
    counts = torch.zeros(vocabulary, layers, experts)
    for chosen in paths.unbind(-1):
        places = (tokens[:, None] * layers + torch.arange(layers)) * experts + chosen
        counts.view(-1).index_add_(0, places.flatten(), torch.ones(places.numel()))
    return counts


@final
class TokenTable(Predictor):
    """The share in which the same byte went to each expert in a profile."""

    name = "token-table"

    def __init__(self, tokens: Tensor, paths: Tensor, vocabulary: int, experts: int) -> None:
        counts = counted(tokens, paths, vocabulary, experts)
        usual = counts.sum(0) / counts.sum((0, 2))[:, None]
        counts += usual  # a byte that was never seen goes where bytes usually go
        self.table: Floats = (paths.shape[-1] * counts / counts.sum(-1, keepdim=True)).clamp(max=1).double().numpy()

    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        found: Floats = self.table[list(tokens)]
        return found


@final
class PreviousToken(Predictor):
    """Where the sequence's previous token went."""

    name = "previous-token"

    def __init__(self, layers: int, experts: int) -> None:
        self._layers, self._experts = layers, experts
        self._last: Floats = np.zeros((0, layers, experts))

    def reset(self, sequences: int) -> None:
        self._last = np.zeros((sequences, self._layers, self._experts))

    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        found: Floats = self._last[list(rows)]
        return found

    def observe(self, rows: Sequence[int], paths: Tensor) -> None:
        for row, path in zip(rows, paths, strict=True):
            self._last[row] = 0.0
            np.put_along_axis(self._last[row], path.numpy(), 1.0, axis=-1)


@final
class Oracle(Predictor):
    """Reads the paths that a run over the same tokens took: a bound, and nothing that can be used."""

    name = "oracle"

    def __init__(self, paths: Tensor, experts: int) -> None:
        """paths: int64 [sequences, steps, layers, k]."""
        self._paths, self._experts = paths, experts

    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        path = self._paths[torch.tensor(rows), torch.tensor(positions)]
        found: Floats = torch.zeros(*path.shape[:2], self._experts).scatter_(-1, path, 1.0).double().numpy()
        return found

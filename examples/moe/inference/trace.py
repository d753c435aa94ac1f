"""The paths that tokens of a text take through the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.moe.model import LanguageModel

AT_ONCE = 16  # windows


@dataclass(frozen=True)
class Trace:
    """N windows of T bytes."""

    tokens: Tensor  # int64 [N, T]
    paths: Tensor  # int64 [N, T, layers, k]
    pregate: Tensor  # int64 [N, T, layers, 3], what the routers say of the state one layer earlier


@torch.no_grad()
def collect(model: LanguageModel, tokens: Tensor) -> Trace:
    """Run the model over windows, and keep where the bytes went. tokens: int64 [N, T]."""
    outs = [model(part) for part in torch.split(tokens, AT_ONCE)]
    return Trace(tokens, torch.cat([out.paths for out in outs]), torch.cat([out.pregate for out in outs]))

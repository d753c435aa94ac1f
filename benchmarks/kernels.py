"""The layers and values that solving and coding are measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from examples.resnet.model import ResNet18
from kimad.layout import Layer


def layers() -> list[Layer]:
    """ResNet-18's 62 tensors, 11.2 M values."""
    return [Layer(name, tuple(p.shape)) for name, p in ResNet18().named_parameters()]


def heavy_tailed(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Values with the tails of gradients, layer scales spread over a hundred."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy((rng.standard_t(3, n) * np.exp(rng.uniform(np.log(0.01), 0))).astype(np.float32))
        for n in sizes
    ]

"""How a message's entries are shared out among layers: three compressors of one signature.

Each takes (N, L, W) vectors and (N,) entries that a message may hold, L or more, and gives what is left of the
vectors, (N, L, W), and the entries that are really sent, (N,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from examples.quadratic.knapsack import allocate, options
from examples.quadratic.topk import topk

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Compressor = Callable[[Floats, Ints], tuple[Floats, Ints]]


def uniform(v: Floats, entries: Ints) -> tuple[Floats, Ints]:
    """Kimad: one density for all layers, rounded to whole entries that add up to the message's, at least 1 a layer."""
    layers, width = v.shape[1:]
    borders = entries[:, None] * np.arange(layers + 1) // layers
    counts = np.clip(np.diff(borders, axis=1), 1, width)
    return topk(v, counts), counts.sum(axis=1)


def knapsack(v: Floats, entries: Ints) -> tuple[Floats, Ints]:
    """Kimad+: the layers' counts with the least squared error, from a grid of counts."""
    layers, width = v.shape[1:]
    everything = entries >= layers * width
    counts = allocate(v, np.where(everything, 0, entries), options(width))
    counts[everything] = width
    return topk(v, counts), counts.sum(axis=1)


def whole(v: Floats, entries: Ints) -> tuple[Floats, Ints]:
    """Layers are not looked at: the largest entries of the whole vector."""
    counts = np.minimum(entries, v[0].size)
    return topk(v.reshape(len(v), -1), counts).reshape(v.shape), counts


ALLOCATIONS: dict[str, Compressor] = {"uniform": uniform, "knapsack": knapsack, "whole": whole}

"""Kimad+'s allocation: how many entries each layer keeps, by dynamic programming over the budget.

    f_l[w] = max_j f_{l-1}[w − k_j] + energy of layer l's k_j largest entries

Every entry costs the same, so the budget is counted in entries, a bin is one entry wide, and the optimum over the
options is exact. (`kimad.solver` has a knapsack too: over seconds, in a thousand bins, for one menu of codecs. Here
one round solves a problem for every worker of every run at once, and costs are small whole numbers.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def options(width: int) -> Ints:
    """Counts that a layer of `width` entries may keep: 0, 1, 2, 3, 4, 6, 8, 12, 16, ... and all."""
    grid = {0, width} | {1 << i for i in range(width.bit_length())} | {3 << i for i in range(width.bit_length())}
    return np.array(sorted(k for k in grid if k <= width), np.int64)


def allocate(v: Floats, budget: Ints, ks: Ints) -> Ints:
    """(N, L, W) vectors, (N,) entries each may keep, (O,) rising options from 0 on -> (N, L) entries of each layer.

    The sum over layers is at most the budget, and no other choice of options within it has less squared error.
    """
    n, layers, width = v.shape
    budget = np.minimum(budget, layers * width)
    bins = int(budget.max(initial=0)) + 1
    descending = np.sort(v**2, axis=-1)[..., ::-1]
    energy = np.concatenate([np.zeros((n, layers, 1)), np.cumsum(descending, axis=-1)], axis=-1)[..., ks]
    best = np.zeros((layers + 1, bins, n))  # f in front of each layer, and behind the last one
    scratch = np.empty((bins, n))
    for layer in range(layers):
        before, after = best[layer], best[layer + 1]
        after[:] = before  # keeps nothing
        for j in range(1, int(np.searchsorted(ks, bins))):
            reached = np.add(before[: bins - ks[j]], energy[:, layer, j], out=scratch[: bins - ks[j]])
            np.maximum(after[ks[j] :], reached, out=after[ks[j] :])
    counts = np.empty((n, layers), np.int64)
    left, rows = budget, np.arange(n)
    for layer in reversed(range(layers)):  # back from the end: the option that gave the maximum
        source = left[:, None] - ks
        reached = best[layer, np.maximum(source, 0), rows[:, None]] + energy[:, layer]
        counts[:, layer] = ks[np.where(source >= 0, reached, -np.inf).argmax(axis=1)]
        left = left - counts[:, layer]
    return counts

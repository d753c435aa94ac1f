"""Top-k with another k for every row: the entries of largest magnitude stay, the others become 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def topk(rows: Floats, k: Ints) -> Floats:
    """(..., W) values and (...) counts from 0 to W -> (..., W); a row keeps at most k, also among equals.

    ‖topk(v, k) − v‖² <= (1 − k/W) ‖v‖² for every row v.
    """
    width = rows.shape[-1]
    magnitudes = np.abs(rows)
    ascending = np.sort(magnitudes, axis=-1)
    least = np.take_along_axis(ascending, np.clip(width - k, 0, width - 1)[..., None], axis=-1)
    kept = (magnitudes >= least) & (k > 0)[..., None]
    tied = np.logical_and(kept.sum(axis=-1) > k, least[..., 0] > 0)
    if tied.any():
        order = np.argsort(-magnitudes[tied], axis=-1, kind="stable")
        first = np.zeros(order.shape, np.bool_)
        np.put_along_axis(first, order, np.arange(width) < k[tied][:, None], axis=-1)
        kept[tied] = first
    return np.where(kept, rows, 0.0)

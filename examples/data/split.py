"""Parts of a data set that hold the same share of every class."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from examples.data.dataset import DataError, Split


def stratified(data: Split, shares: Sequence[float], seed: int) -> list[Split]:
    """Split at random into parts of these shares, class by class; as one class where there are no labels.

    Raises DataError where a part would be empty.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = data.labels if data.labels is not None else torch.zeros(len(data), dtype=torch.int64)
    parts: list[list[torch.Tensor]] = [[] for _ in shares]
    borders = torch.tensor([0.0, *shares]).cumsum(0) / sum(shares)
    for label in sorted(set(labels.tolist())):
        own = torch.nonzero(labels == label)[:, 0]
        own = own[torch.randperm(len(own), generator=generator)]
        cuts = (borders * len(own)).round().long().tolist()
        for part, start, stop in zip(parts, cuts, cuts[1:], strict=False):
            part.append(own[start:stop])
    chosen = [torch.cat(part) for part in parts]
    if min(len(rows) for rows in chosen) == 0:
        raise DataError(f"{len(data)} images are too few for parts of {', '.join(f'{s:g}' for s in shares)}")
    return [Split(data.images[rows], data.labels[rows] if data.labels is not None else None) for rows in chosen]

"""Which sequences go into a batch together: two batches are split anew so that each needs few different experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from examples.moe.errors import MoeError

Paths = NDArray[np.bool_]  # [sequences, layers · experts]
Order = NDArray[np.int64]  # a permutation of the sequences; the first half is the first batch

MAX_ROUNDS = 30


def active(paths: Paths, order: Order) -> int:
    """Σ over both batches of the experts that at least one member visits (arXiv 2410.17954, Eq. 2)."""
    half = len(order) // 2
    return int(paths[order[:half]].any(0).sum() + paths[order[half:]].any(0).sum())


def identity(paths: Paths) -> Order:
    """The batches as they are."""
    return np.arange(len(paths))


def balanced_kmeans(paths: Paths) -> Order:
    """Two clusters of equal size around medoids, by the similarity 1 - Hamming / length; as in the paper.

    The first medoids are the two least similar sequences.
    """
    count = len(paths)
    similar = (paths[:, None] == paths[None]).mean(-1)
    medoids = tuple(int(i) for i in np.unravel_index(similar.argmin(), similar.shape))
    order = identity(paths)
    for _ in range(MAX_ROUNDS):
        order = np.argsort(similar[medoids[1]] - similar[medoids[0]], kind="stable")
        halves = order[: count // 2], order[count // 2 :]
        moved = tuple(int(half[similar[np.ix_(half, half)].sum(1).argmax()]) for half in halves)
        if moved == medoids:
            break
        medoids = moved
    return order


def swap_search(paths: Paths) -> Order:
    """The better of two descents, from the batches as they are and from balanced K-means."""
    return min((descend(paths, start(paths)) for start in (identity, balanced_kmeans)), key=partial(active, paths))


def descend(paths: Paths, order: Order) -> Order:
    """Take the swap of two sequences that saves most experts, until none saves any."""
    half = len(paths) // 2
    order = order.copy()
    members = paths.astype(np.int16)
    for _ in range(MAX_ROUNDS):
        first, second = members[order[:half]], members[order[half:]]
        change = second[None] - first[:, None]  # [half, half, experts]: what swapping i and j brings to the first
        after = (first.sum(0) + change > 0).sum(-1) + (second.sum(0) - change > 0).sum(-1)
        i, j = np.unravel_index(after.argmin(), after.shape)
        if after[i, j] >= active(paths, order):
            break
        order[i], order[half + j] = order[half + j], order[i]
    return order


SCHEDULES: dict[str, Callable[[Paths], Order]] = {"none": identity, "kmeans": balanced_kmeans, "swap": swap_search}


def schedule(paths: Paths, method: str) -> Order:
    """The order by `method`, or the one that is there, whichever needs fewer experts.

    Raises:
        MoeError: an unknown method, or sequences that cannot be halved.
    """
    if method not in SCHEDULES:
        raise MoeError(f"schedule {method!r}; allowed: {', '.join(SCHEDULES)}")
    if len(paths) % 2:
        raise MoeError(f"{len(paths)} sequences cannot be split into two batches of one size")
    if not len(paths):
        return identity(paths)
    found = SCHEDULES[method](paths)
    return found if active(paths, found) < active(paths, identity(paths)) else identity(paths)

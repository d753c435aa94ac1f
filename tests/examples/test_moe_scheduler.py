"""The split of two batches: a permutation, never worse than what was there."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from examples.moe.errors import MoeError
from examples.moe.inference.scheduler import SCHEDULES, Order, Paths, active, balanced_kmeans, schedule, swap_search


def paths(seed: int, count: int, kinds: int = 12) -> np.typing.NDArray[np.bool_]:
    """Sequences of a few kinds, with some noise, in random order."""
    rng = np.random.default_rng(seed)
    base = rng.random((kinds, 40)) < 0.15
    return np.asarray(base[rng.integers(kinds, size=count)] ^ (rng.random((count, 40)) < 0.02))


@pytest.mark.parametrize("method", SCHEDULES)
@pytest.mark.parametrize("count", [2, 4, 16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_permutation_and_never_worse_than_identity(method: str, count: int, seed: int) -> None:
    members = paths(seed, count)
    order = schedule(members, method)
    assert sorted(order.tolist()) == list(range(count))
    assert active(members, order) <= active(members, np.arange(count))


@pytest.mark.parametrize("method", [balanced_kmeans, swap_search])
def test_two_kinds_are_separated(method: Callable[[Paths], Order]) -> None:
    members = np.zeros((8, 6), np.bool_)
    members[::2, :3] = True
    members[1::2, 3:] = True
    assert active(members, method(members)) == 6


def test_swap_search_ends_where_no_swap_helps_and_is_near_the_best() -> None:
    for seed in range(5):
        members = paths(seed, 8, kinds=4)
        found = active(members, swap_search(members))
        best = min(
            active(members, np.array([*half, *sorted(set(range(8)) - set(half))]))
            for half in itertools.combinations(range(8), 4)
        )
        assert best <= found <= 1.15 * best


def test_what_cannot_be_scheduled_is_named() -> None:
    with pytest.raises(MoeError, match="3 sequences"):
        schedule(paths(0, 3), "swap")
    with pytest.raises(MoeError, match="'best'; allowed: none, kmeans, swap"):
        schedule(paths(0, 4), "best")

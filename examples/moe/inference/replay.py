"""Demand-only replay of recorded needs: what a policy without loading ahead would have hit. No link, no clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Outlook

Needs = Sequence[Sequence[Key]]  # the experts of each visit to a layer, in order


def replay(needs: Needs, cache: Cache) -> int:
    """How many of the needed experts were resident when their visit began.

    As in the engine: hits are used first, then one miss after the other is loaded and used.
    """
    hits = 0
    for visit in needs:
        cache.policy.enter(visit[0][0])
        cache.policy.look(Outlook())  # nothing is predicted
        there = [key for key in visit if key in cache.resident]
        hits += len(there)
        for key in there:
            cache.pin(key)
        for key in there:
            cache.unpin(key)
        for key in visit:
            if key not in there:
                if cache.place(key, demand=True) is None:
                    raise CacheError(f"no slot for expert {key} though none is pinned")
                cache.complete(key, ahead=False)
                cache.pin(key)
                cache.unpin(key)
    return hits


def shuffled(needs: Needs, layers: int, seed: int) -> list[Sequence[Key]]:
    """The control: every layer's visits in random order, so what they have in common stays and what time did goes."""
    generator = np.random.default_rng(seed)
    out: list[Sequence[Key]] = list(needs)
    for layer in range(layers):
        places = [i for i, visit in enumerate(needs) if visit[0][0] == layer]
        for place, other in zip(places, generator.permutation(places).tolist(), strict=True):
            out[place] = needs[other]
    return out

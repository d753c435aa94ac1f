"""Belady's rule: the expert that is needed last leaves. It reads the future, so it is a bound and no policy to use."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import final

from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


@final
class Belady(Policy):
    """The fewest misses that any policy without loading ahead can have."""

    name = "belady"

    def __init__(self, future: Sequence[Collection[Key]]) -> None:
        """future: the experts of every visit to a layer, in order, as a run with the same tokens recorded them."""
        self._uses: dict[Key, list[int]] = defaultdict(list)
        for visit, keys in enumerate(future):
            for key in keys:
                self._uses[key].append(visit)
        self._visit = -1

    def _next(self, key: Key) -> float:
        uses = self._uses[key]
        index = bisect_right(uses, self._visit)
        return uses[index] if index < len(uses) else float("inf")

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        return max(evictable, key=self._next) if evictable else None

    def enter(self, layer: int) -> None:
        self._visit += 1

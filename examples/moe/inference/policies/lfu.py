"""Least frequently used over all layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import final

from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


@final
class Lfu(Policy):
    """Counts are kept when an expert leaves. Nothing is loaded ahead."""

    name = "lfu"

    def __init__(self) -> None:
        self._count: Counter[Key] = Counter()

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        return min(evictable, key=lambda k: self._count[k]) if evictable else None

    def used(self, key: Key) -> None:
        self._count[key] += 1

"""Least recently used over all layers: layers come in a circle, so a small cache evicts what comes next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import final

from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


@final
class GlobalLru(Policy):
    """Nothing is loaded ahead."""

    name = "global-lru"

    def __init__(self) -> None:
        self._clock = 0
        self._last: dict[Key, int] = {}

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        return min(evictable, key=lambda k: self._last.get(k, 0)) if evictable else None

    def used(self, key: Key) -> None:
        self._clock += 1
        self._last[key] = self._clock

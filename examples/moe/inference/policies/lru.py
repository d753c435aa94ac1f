"""Least recently used, every layer with slots of its own: what offloading engines do on demand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import final

from examples.moe.errors import MoeError
from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


def shares(slots: int, layers: int) -> list[int]:
    """Slots of each layer; what is left over goes to the first ones."""
    return [slots // layers + (layer < slots % layers) for layer in range(layers)]


@final
class LayerLru(Policy):
    """Nothing is loaded ahead."""

    name = "lru"

    def __init__(self, slots: int, layers: int) -> None:
        if slots < layers:
            raise MoeError(f"{slots} slots for {layers} layers; allowed: one a layer or more")
        self._shares = shares(slots, layers)
        self._clock = 0
        self._last: dict[Key, int] = {}

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        layer = key[0]
        if sum(k[0] == layer for k in held) < self._shares[layer]:
            return FREE  # the shares add up to the slots, so one is free
        own = [k for k in evictable if k[0] == layer]
        return min(own, key=lambda k: self._last.get(k, 0)) if own else None

    def used(self, key: Key) -> None:
        self._clock += 1
        self._last[key] = self._clock

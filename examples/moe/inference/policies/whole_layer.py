"""Every expert of a layer is loaded, needed or not, and the next layer's while this one computes (a ring of two)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import final

from examples.moe.errors import MoeError
from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Outlook
from examples.moe.inference.policies.interface import FREE, Policy


@final
class WholeLayer(Policy):
    """Needs slots for two whole layers."""

    name = "whole-layer"

    def __init__(self, slots: int, layers: int, experts: int) -> None:
        if slots < 2 * experts:
            raise MoeError(f"{slots} slots; loading whole layers needs two layers of {experts} experts: {2 * experts}")
        self._layers, self._experts = layers, experts
        self._now = 0

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        following = (self._now + 1) % self._layers
        others = [k for k in evictable if k[0] not in (self._now, following)]
        return next(iter(others or (evictable if demand else ())), None)

    def enter(self, layer: int) -> None:
        self._now = layer

    def required(self, needed: Collection[Key]) -> Collection[Key]:
        return [(self._now, expert) for expert in range(self._experts)]

    def look(self, outlook: Outlook) -> None:
        if outlook.visits:
            self._now = (outlook.visits[0].layer - 1) % self._layers

    def ahead(self, held: Collection[Key], begun: Mapping[Key, float]) -> Sequence[Key]:
        following = (self._now + 1) % self._layers
        return [(following, e) for e in range(self._experts) if (following, e) not in held]

"""ExpertFlow's cache as the paper describes it: all that is predicted is loaded, nearest layer first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import final

from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Outlook
from examples.moe.inference.policies.interface import FREE, Policy

THRESHOLD = 0.3  # probability from which an expert counts as predicted


@final
class Predictive(Policy):
    """Slots go to layers as the prediction demands: the nearest layer's experts first, in it the most probable first.

    What is not predicted leaves first, the least recently used of it before the rest; then what is needed last. An
    expert that is loaded ahead never replaces one that is predicted for an earlier or for the same visit.
    """

    name = "predictive"

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._order: dict[Key, int] = {}  # predicted experts, the first to be needed first
        self._visit: dict[Key, int] = {}
        self._clock = 0
        self._last: dict[Key, int] = {}

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        idle = [k for k in evictable if k not in self._order]
        if idle:
            return min(idle, key=lambda k: self._last.get(k, 0))
        if not evictable:
            return None
        last = max(evictable, key=lambda k: self._order[k])
        return last if demand or self._visit[last] > self._visit.get(key, -1) else None

    def used(self, key: Key) -> None:
        self._clock += 1
        self._last[key] = self._clock

    def look(self, outlook: Outlook) -> None:
        self._order.clear()
        self._visit.clear()
        for number, visit in enumerate(outlook.visits):
            for expert in (-visit.probable).argsort(kind="stable").tolist():
                key = (visit.layer, int(expert))
                if visit.probable[expert] >= self._threshold and key not in self._order:
                    self._order[key] = len(self._order)
                    self._visit[key] = number

    def ahead(self, held: Collection[Key], begun: Mapping[Key, float]) -> Sequence[Key]:
        return [key for key in self._order if key not in held]

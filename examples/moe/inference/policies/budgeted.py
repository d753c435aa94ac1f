"""Ours: load ahead only what the link can deliver in time, and let go only of what is worth less than what comes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import final

import numpy as np

from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Floats, Outlook
from examples.moe.inference.policies.interface import FREE, Policy

DISCOUNT = 0.9  # of a use one visit later
MEMORY = 0.9  # of the usage average, a visit of the layer
LIKELY = 0.5  # probability from which loading ahead is worth its bytes


@final
class Budgeted(Policy):
    """value(expert) = E[DISCOUNT^T], T = visits until its next use: predicted as far as predictions go, then as often
    as it was used of late.

    An expert is evicted for the one with the larger value only, and the loads for the visit that is d visits away are
    admitted while all that was admitted before them and they take at most the computing time until then:
    Σ load_s ≤ start_s + d · visit_s. What was begun goes on as long as it is likely.
    """

    name = "budgeted"

    def __init__(self, layers: int, experts: int, likely: float = LIKELY, ahead: bool = True) -> None:
        """ahead: False keeps the values and loads nothing before it is needed."""
        self._layers, self._experts = layers, experts
        self._likely, self._loads_ahead = likely, ahead
        self._usage: Floats = np.full((layers, experts), 1.0 / experts)
        self._value: Floats = self._usage.copy()
        self._outlook = Outlook()
        self._used: dict[int, set[int]] = {}
        self._layer = 0

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        if not evictable:
            return None
        victim = min(evictable, key=lambda k: float(self._value[k]))
        return victim if demand or self._value[victim] < self._value[key] else None

    def enter(self, layer: int) -> None:
        marks = np.zeros(self._experts)
        marks[list(self._used.pop(layer, ()))] = 1.0  # of the visit before this one
        self._usage[layer] = MEMORY * self._usage[layer] + (1 - MEMORY) * marks
        self._layer = layer

    def used(self, key: Key) -> None:
        self._used.setdefault(key[0], set()).add(key[1])

    def look(self, outlook: Outlook) -> None:
        self._outlook = outlook
        first = outlook.visits[0].layer if outlook.visits else (self._layer + 1) % self._layers
        known = len(outlook.visits)
        # Beyond the predictions every layer comes once in `layers` visits, with the usual probability.
        distance = known + (np.arange(self._layers) - first - known) % self._layers
        circle = DISCOUNT**self._layers
        value = DISCOUNT ** distance[:, None] * self._usage / (1.0 - (1.0 - self._usage) * circle)
        for number in range(known - 1, -1, -1):
            visit = outlook.visits[number]
            later = value[visit.layer]
            value[visit.layer] = visit.probable * DISCOUNT**number + (1.0 - visit.probable) * later
        self._value = value

    def ahead(self, held: Collection[Key], begun: Mapping[Key, float]) -> Sequence[Key]:
        outlook = self._outlook
        if not self._loads_ahead or not np.isfinite(outlook.load_s):
            return ()
        chosen: list[Key] = []
        spent_s = 0.0
        for number, visit in enumerate(outlook.visits):
            window_s = outlook.start_s + number * outlook.visit_s
            for expert in (-visit.probable).argsort(kind="stable").tolist():
                key = (visit.layer, int(expert))
                if visit.probable[expert] < self._likely:
                    break
                load_s = outlook.load_s * begun.get(key, 1.0)
                if key in held or key in chosen or (key not in begun and spent_s + load_s > window_s):
                    continue
                chosen.append(key)
                spent_s += load_s
        return chosen

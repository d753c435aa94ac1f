"""The experts that were used most in a profile stay; one slot serves all others in turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import final

from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


@final
class Static(Policy):
    """Nothing is loaded ahead."""

    name = "static"

    def __init__(self, slots: int, profile: Mapping[Key, float]) -> None:
        """profile: how often each expert was used elsewhere."""
        best = sorted(profile, key=lambda key: -profile[key])
        self._kept = frozenset(best[: slots - 1])

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        if free:
            return FREE
        others = [k for k in evictable if k not in self._kept]
        return next(iter(others or evictable), None)

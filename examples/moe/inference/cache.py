"""The slots of fast memory: which expert is in which, which may leave, and who decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from examples.moe.errors import MoeError
from examples.moe.inference.layout import Key
from examples.moe.inference.policies.interface import FREE, Policy


class CacheError(MoeError):
    """A policy asked for what must not be, or nothing can ever be loaded: a fault of the program."""


@dataclass
class Counts:
    """What happened to experts that were loaded ahead of need."""

    loaded: int = 0  # experts that arrived whole, for whatever reason
    ahead: int = 0  # of these, loaded before they were needed
    ahead_used: int = 0  # of these, used before they left
    evicted: int = 0


@final
class Cache:
    """Slots shared by all layers. An expert is absent, loading, or resident; a resident one may be pinned.

    Never more experts than slots; a pinned or a loading expert never leaves.
    """

    def __init__(self, slots: int, policy: Policy) -> None:
        if slots < 1:
            raise MoeError(f"{slots} slots; allowed: 1 or more")
        self.policy = policy
        self.resident: dict[Key, int] = {}
        self.loading: dict[Key, int] = {}
        self.counts = Counts()
        self._free = list(range(slots - 1, -1, -1))
        self._pins: dict[Key, int] = {}
        self._unused: set[Key] = set()  # loaded ahead, and not used yet

    @property
    def pinned(self) -> frozenset[Key]:
        """Experts that must not leave now."""
        return frozenset(self._pins)

    def place(self, key: Key, demand: bool) -> int | None:
        """A slot for an expert that is about to be loaded, or None where there is none for it now.

        Raises:
            CacheError: it is there already, or the policy named one that must stay.
        """
        if key in self.resident or key in self.loading:
            raise CacheError(f"expert {key} is there already")
        evictable = [k for k in self.resident if k not in self._pins]
        victim = self.policy.place(key, evictable, [*self.resident, *self.loading], len(self._free), demand)
        if victim is None:
            return None
        if victim != FREE:
            if victim not in evictable:
                raise CacheError(f"the policy would evict {victim}, which is absent, pinned or loading")
            self._free.append(self.resident.pop(victim))
            self._unused.discard(victim)
            self.counts.evicted += 1
        elif not self._free:
            raise CacheError("the policy took a free slot where there is none")
        self.loading[key] = self._free.pop()
        return self.loading[key]

    def complete(self, key: Key, ahead: bool) -> None:
        """The expert has arrived."""
        self.resident[key] = self.loading.pop(key)
        self.counts.loaded += 1
        if ahead:
            self.counts.ahead += 1
            self._unused.add(key)
        self.policy.loaded(key)

    def abandon(self, key: Key) -> None:
        """The expert will not arrive."""
        self._free.append(self.loading.pop(key))

    def pin(self, key: Key) -> None:
        """Keep a resident expert until it is unpinned as often as it was pinned."""
        if key not in self.resident:
            raise CacheError(f"expert {key} is not resident and cannot be pinned")
        self._pins[key] = self._pins.get(key, 0) + 1

    def unpin(self, key: Key, used: bool = True) -> None:
        """Let it go again, after it was used."""
        left = self._pins.get(key, 0) - 1
        if left < 0:
            raise CacheError(f"expert {key} is not pinned")
        if left:
            self._pins[key] = left
        else:
            self._pins.pop(key)
        if used:
            if key in self._unused:
                self._unused.discard(key)
                self.counts.ahead_used += 1
            self.policy.used(key)

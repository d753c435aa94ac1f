"""Brings experts into slots: the interface, and what both clocks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key, as_bytes
from examples.moe.inference.link import Meter
from examples.moe.inference.outlook import Outlook, Visit
from examples.moe.inference.store import Store
from examples.moe.inference.transfers import Job, Transfers


class Loader(ABC):
    """The engine's side of cache and link. All slots stand in one tensor [slots, values]."""

    def __init__(self, store: Store, cache: Cache, slots: int) -> None:
        self.store = store
        self.cache = cache
        self.meter = Meter()
        self.slots = torch.zeros(slots, store.manifest.config.expert_values)
        self.transfers = Transfers(cache, store.manifest.expert_bytes)
        self.stall_s = 0.0  # for which computing waited

    @abstractmethod
    def now_s(self) -> float:
        """The loader's clock."""

    @abstractmethod
    def spend(self, seconds: float) -> None:
        """Computing has taken so long; nothing to do where the clock is the real one."""

    @abstractmethod
    def wait(self, keys: Collection[Key]) -> None:
        """Return when at least one of these is resident.

        Raises:
            StoreError: what the store raised.
            CacheError: that can never be.
        """

    def enter(self, layer: int, needed: Sequence[Key]) -> tuple[list[Key], list[Key]]:
        """A layer has been routed: pin what is there, ask for the rest. Returns all that is required, and the hits."""
        self.cache.policy.enter(layer)
        required = list(self.cache.policy.required(needed))
        hits = [key for key in required if key in self.cache.resident]
        for key in hits:
            self.cache.pin(key)
        self.transfers.demand([key for key in required if key not in hits])
        return required, hits

    def look(self, visits: Sequence[Visit], start_s: float, visit_s: float) -> None:
        """What is likely to come; decides what is loaded ahead from now on."""
        rate_bps = self.meter.low_bps(self.now_s())
        load_s = float("inf") if rate_bps is None else 8 * self.transfers.expert_bytes / rate_bps
        self.cache.policy.look(Outlook(tuple(visits), start_s, visit_s, load_s))
        self.transfers.load_ahead(self.cache.policy.ahead(self.cache.resident.keys(), self.transfers.begun))

    def take(self, keys: Collection[Key]) -> list[Key]:
        """Those of the keys asked for that have come; they were pinned when they did."""
        return [key for key in keys if key in self.cache.resident]

    def weights(self, key: Key) -> Tensor:
        """The flat buffer of a pinned expert."""
        if key not in self.cache.pinned:
            raise CacheError(f"expert {key} is not pinned, and may be overwritten")
        return self.slots[self.cache.resident[key]]

    def release(self, key: Key, used: bool) -> None:
        """The expert has been computed."""
        self.cache.unpin(key, used)

    def close(self) -> None:  # noqa: B027 - not all have something to stop
        """Stop moving."""

    def _view(self, job: Job, count: int) -> memoryview:
        """Where the job's next piece goes."""
        assert job.slot is not None  # noqa: S101 - for the type checker; a begun job has one
        return as_bytes(self.slots[job.slot])[job.done_bytes : job.done_bytes + count]

    def _finish(self, job: Job) -> None:
        """Check what has arrived, and make it resident."""
        assert job.slot is not None  # noqa: S101
        self.store.manifest.check(job.key, as_bytes(self.slots[job.slot]))
        self.transfers.arrived(job)

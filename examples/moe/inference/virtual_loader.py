"""The loader on a clock of its own: bytes really move, and the time that they and computing take is worked out."""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key
from examples.moe.inference.link import transfer_s
from examples.moe.inference.loader import Loader
from examples.moe.inference.store import Store
from examples.moe.inference.transfers import Job
from kimad.trace import Link


@final
class VirtualLoader(Loader):
    """Exact and repeatable on a busy machine: computing takes what `spend` is told, a piece what the link says."""

    def __init__(self, store: Store, cache: Cache, slots: int, link: Link) -> None:
        super().__init__(store, cache, slots)
        self._link = link
        self._now_s = 0.0  # of computing
        self._link_s = 0.0  # up to which the link has been followed
        self._moving: tuple[Job, int, float] | None = None  # job, bytes, end

    def now_s(self) -> float:
        return self._now_s

    def spend(self, seconds: float) -> None:
        self._now_s += seconds
        while self._start() and self._end_s() <= self._now_s:
            self._land()
        if self._moving is None:
            self._link_s = self._now_s

    def wait(self, keys: Collection[Key]) -> None:
        begin_s = self._now_s
        while not any(key in self.cache.resident for key in keys):
            if not self._start():
                raise CacheError(f"none of {sorted(keys)} can ever be loaded: no slot comes free")
            self._now_s = max(self._now_s, self._end_s())
            self._land()
        self.stall_s += self._now_s - begin_s

    def _end_s(self) -> float:
        return self._moving[2] if self._moving else float("inf")

    def _start(self) -> bool:
        """Put the next piece on the link, unless one is there. False where there is none."""
        if self._moving is None:
            job = self.transfers.next()
            if job is None:
                return False
            count = self.transfers.piece(job)
            self._moving = job, count, self._link_s + transfer_s(self._link, count, self._link_s)
        return True

    def _land(self) -> None:
        """The piece on the link arrives."""
        assert self._moving is not None  # noqa: S101 - for the type checker
        job, count, end_s = self._moving
        self.store.read(job.key, job.done_bytes, self._view(job, count))
        self.meter.moved(count, self._link_s, end_s)
        self._link_s, self._moving = end_s, None
        if self.transfers.moved(job, count):
            self._finish(job)

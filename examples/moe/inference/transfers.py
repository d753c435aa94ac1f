"""What is to be moved, in which order: a state machine without threads and without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from examples.moe.inference.cache import Cache
from examples.moe.inference.layout import Key

PIECE_BYTES = 64 << 10  # after each, something more urgent may take the link


@dataclass
class Job:
    """One expert on its way."""

    key: Key
    ahead: bool  # nobody waits for it yet
    slot: int | None = None
    done_bytes: int = 0
    moving: bool = False  # a piece is on the link, so the slot is being written to
    cancelled: bool = False


@final
class Transfers:
    """Demands first, in the order in which they came; then what was begun ahead; then what is to be loaded ahead.

    A job takes its slot when its first piece starts, so what only waits holds nothing.
    """

    def __init__(self, cache: Cache, expert_bytes: int) -> None:
        self.cache = cache
        self.expert_bytes = expert_bytes
        self.cancelled = 0  # jobs given up after they had begun
        self.cancelled_bytes = 0  # that had been moved for them
        self._begun: dict[Key, Job] = {}
        self._demands: list[Key] = []
        self._ahead: list[Key] = []

    def demand(self, keys: Sequence[Key]) -> None:
        """A layer waits for these."""
        for key in keys:
            if key in self._ahead:
                self._ahead.remove(key)
            job = self._begun.get(key)
            if job is not None:
                job.ahead = False
                self._take_back(job)
            if key not in self._demands and key not in self.cache.resident:
                self._demands.append(key)

    def load_ahead(self, keys: Sequence[Key]) -> None:
        """From now on these, and no others, are loaded ahead; what was begun and is not among them is given up."""
        for job in list(self._begun.values()):
            if job.key in keys:
                self._take_back(job)
            elif job.ahead and not job.cancelled:
                self._give_up(job)
        there = (self._demands, self.cache.resident, self._begun)
        self._ahead = [key for key in keys if not any(key in place for place in there)]

    @property
    def begun(self) -> dict[Key, float]:
        """Experts on their way, and what share of each is missing."""
        return {job.key: 1.0 - job.done_bytes / self.expert_bytes for job in self._begun.values()}

    def next(self) -> Job | None:
        """The job whose next piece moves now, or None: there is nothing to do, or no slot to do it in."""
        for key in self._demands:
            job = self._begun.get(key)
            if job is None:
                job = self._begin(key, ahead=False)
                while job is None and self._give_up_last():
                    job = self._begin(key, ahead=False)
            if job is not None and not job.cancelled and not job.moving:
                job.moving = True
                return job
        for job in self._begun.values():
            if job.ahead and not job.cancelled and not job.moving:
                job.moving = True
                return job
        while self._ahead:
            key = self._ahead.pop(0)
            if key in self.cache.resident or key in self._begun:
                continue
            job = self._begin(key, ahead=True)
            if job is not None:
                job.moving = True
                return job
        return None

    def piece(self, job: Job) -> int:
        """Bytes of the job's next piece."""
        return min(PIECE_BYTES, self.expert_bytes - job.done_bytes)

    def moved(self, job: Job, count: int) -> bool:
        """A piece has arrived. True when the expert is whole; then `arrived` or `failed` must follow."""
        job.moving = False
        job.done_bytes += count
        if job.cancelled:
            self._drop(job)
            return False
        return job.done_bytes >= self.expert_bytes

    def arrived(self, job: Job) -> None:
        """The expert is whole, and what it should be. What a layer waits for is pinned: the next might evict it."""
        del self._begun[job.key]
        self.cache.complete(job.key, ahead=job.ahead)
        if job.key in self._demands:
            self._demands.remove(job.key)
            self.cache.pin(job.key)

    def _begin(self, key: Key, ahead: bool) -> Job | None:
        slot = self.cache.place(key, demand=not ahead)
        if slot is None:
            return None
        self._begun[key] = Job(key, ahead, slot)
        return self._begun[key]

    def _give_up_last(self) -> bool:
        """Give up one job that was begun ahead, so that its slot is free at once. False where there is none."""
        for job in reversed(self._begun.values()):
            if job.ahead and not job.moving and not job.cancelled:
                self._give_up(job)
                return True
        for job in self._begun.values():
            if job.ahead and not job.cancelled:
                self._give_up(job)  # its slot is free when its piece is over
        return False

    def _give_up(self, job: Job) -> None:
        job.cancelled = True
        self.cancelled += 1
        if not job.moving:
            self._drop(job)

    def _take_back(self, job: Job) -> None:
        """Go on with a job that was given up, if a piece of it is still moving."""
        if job.cancelled:
            job.cancelled = False
            self.cancelled -= 1

    def _drop(self, job: Job) -> None:
        self.cancelled_bytes += job.done_bytes
        del self._begun[job.key]
        self.cache.abandon(job.key)

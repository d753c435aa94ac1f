"""The loader in real time: one thread moves pieces while the engine computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import final

from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key
from examples.moe.inference.link import Pacer
from examples.moe.inference.loader import Loader
from examples.moe.inference.outlook import Visit
from examples.moe.inference.store import Store
from kimad.trace import Link

LIMIT_S = 60.0  # for one expert; a store with a shorter timeout of its own reports first


@final
class ThreadLoader(Loader):
    """Everything that the thread and the engine both touch is touched under one lock; only bytes move without it."""

    def __init__(self, store: Store, cache: Cache, slots: int, link: Link | None = None) -> None:
        super().__init__(store, cache, slots)
        self._pacer = Pacer(link)
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._stopped = False
        self._idle = False  # the thread found nothing that it could do
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now_s(self) -> float:
        return time.monotonic()

    def spend(self, seconds: float) -> None:
        return

    def enter(self, layer: int, needed: Sequence[Key]) -> tuple[list[Key], list[Key]]:
        with self._changed:
            found = super().enter(layer, needed)
            self._wake()
        return found

    def look(self, visits: Sequence[Visit], start_s: float, visit_s: float) -> None:
        with self._changed:
            super().look(visits, start_s, visit_s)
            self._wake()

    def take(self, keys: Collection[Key]) -> list[Key]:
        with self._changed:
            return super().take(keys)

    def release(self, key: Key, used: bool) -> None:
        with self._changed:
            super().release(key, used)
            self._wake()

    def wait(self, keys: Collection[Key]) -> None:
        begin_s = time.monotonic()
        with self._changed:
            while not any(key in self.cache.resident for key in keys):
                if self._error is not None:
                    raise self._error
                if self._idle or self._stopped:
                    raise CacheError(f"none of {sorted(keys)} can ever be loaded: no slot comes free")
                if not self._changed.wait(LIMIT_S - (time.monotonic() - begin_s)):
                    raise CacheError(f"none of {sorted(keys)} was loaded within {LIMIT_S:g} s")
        self.stall_s += time.monotonic() - begin_s

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(LIMIT_S)

    def _wake(self) -> None:
        self._idle = False
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _step(self) -> bool:
        """Move one piece, or wait until there may be one. False when the loader has been closed."""
        with self._changed:
            while not self._stopped and (job := self.transfers.next()) is None:
                self._idle = True
                self._changed.notify_all()
                self._changed.wait()
            if self._stopped:
                return False
            assert job is not None  # noqa: S101 - for the type checker
            count = self.transfers.piece(job)
            view = self._view(job, count)
        start_s = time.monotonic()
        self.store.read(job.key, job.done_bytes, view)
        self._pacer.wait(count, start_s)
        with self._changed:
            self.meter.moved(count, start_s, time.monotonic())
            if self.transfers.moved(job, count):
                self._finish(job)
            self._changed.notify_all()
        return True

"""One thread that runs tasks in the order they came.

Collectives issued from future callbacks reorder between ranks, which aborts gloo or mixes data. Here everything
that talks to a model's own process group runs in one thread, in bucket order.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import final


@final
class Executor:
    """A FIFO thread. Tasks must not raise; `close` drains and joins it."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        # A daemon, because the interpreter waits for other threads before it runs exit handlers.
        self._thread = threading.Thread(target=_run, args=(self._tasks,), name=name, daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task after all earlier ones."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        self._tasks.put(task)

    def drain(self) -> None:
        """Wait until everything submitted so far is done."""
        if self._closed or threading.current_thread() is self._thread:
            return
        done = threading.Event()
        self._tasks.put(done.set)
        done.wait()

    def close(self) -> None:
        """Finish what was submitted, then end the thread. May be called again."""
        if not self._closed:
            self._closed = True
            self._tasks.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _run(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # what it holds must not live until the next one comes

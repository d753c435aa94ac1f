"""Waits for several peers at once, each in a thread of its own: a late or slow one hides nothing of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import final

from kimad.executor import Executor


@final
class Waiters:
    """Threads that are started when they are first needed, and stay."""

    def __init__(self, most: int) -> None:
        self._most = most  # threads, the caller's included
        self._executors: list[Executor] = []

    def run(self, waits: Sequence[Callable[[], None]]) -> tuple[int, BaseException] | None:
        """Run all of these to their end, side by side as far as there are threads; number and error of one that failed.

        A peer that lives sends what it has to send, so waiting for all of them takes no longer than for one.
        """
        numbered = list(enumerate(waits))
        shares = [numbered[i :: self._most] for i in range(min(self._most, len(waits)))]
        while len(self._executors) < len(shares) - 1:
            self._executors.append(Executor(f"kimad-wait-{len(self._executors)}"))
        errors: list[tuple[int, BaseException]] = []
        done = [Event() for _ in shares]
        for share, executor, end in zip(shares[1:], self._executors, done[1:], strict=False):
            executor.submit(partial(_run, share, errors, end))
        if shares:
            _run(shares[0], errors, done[0])
        for end in done:
            end.wait()
        return errors[0] if errors else None

    def close(self) -> None:
        """End the threads."""
        for executor in self._executors:
            executor.close()


def _run(waits: Sequence[tuple[int, Callable[[], None]]], errors: list[tuple[int, BaseException]], end: Event) -> None:
    try:
        for number, wait in waits:
            try:
                wait()
            except BaseException as error:
                errors.append((number, error.with_traceback(None)))  # which would keep alive what was waited for
                return
    finally:
        end.set()

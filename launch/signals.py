"""Signals that ask a command to end, as exceptions: so that what it made is taken down on its way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__]


class SignalInterrupt(KeyboardInterrupt):
    """Another signal than Ctrl-C asked this process to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def number(interrupt: KeyboardInterrupt) -> int:
    """Which signal it was."""
    return interrupt.signal_number if isinstance(interrupt, SignalInterrupt) else int(signal.SIGINT)


def name(interrupt: KeyboardInterrupt) -> str:
    """The same in words."""
    return signal.Signals(number(interrupt)).name


@contextmanager
def raised() -> Iterator[None]:
    """Every ending signal raises SignalInterrupt in the main thread."""

    def on_signal(signal_number: int, frame: FrameType | None) -> NoReturn:
        raise SignalInterrupt(signal_number)

    with _handled(on_signal):
        yield


@contextmanager
def ignored() -> Iterator[None]:
    """Ending signals do nothing: for the short time that it takes to clean up."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for signal_number, earlier in before.items():
            signal.signal(signal_number, earlier)

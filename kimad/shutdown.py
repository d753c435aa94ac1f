"""Leaves nothing in a collective when the interpreter exits: a daemon thread inside one aborts every second run."""

from __future__ import annotations

import atexit
import sys
from typing import Protocol


class Closeable(Protocol):
    """Anything that drains, joins and lets go of its group when the program ends."""

    def leave(self, error: BaseException | None) -> None:
        """Close; `error` is the uncaught one that ends the program, if there is one. May be called again."""


_open: list[Closeable] = []  # held strongly: the threads of a State may outlive the model that owned it


def close_at_exit(thing: Closeable) -> None:
    """Have `thing` leave when the interpreter exits, unless it is closed before."""
    _open.append(thing)


def closed(thing: Closeable) -> None:
    """Forget `thing`: it has left already."""
    if thing in _open:
        _open.remove(thing)


def close_all() -> None:
    """Close everything that is still open."""
    error = getattr(sys, "last_value", None)  # the interpreter has set it by now
    for thing in _open:
        thing.leave(error)


atexit.register(close_all)

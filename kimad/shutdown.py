"""Leaves nothing in a collective when the interpreter exits: a daemon thread inside one aborts every second run."""

from __future__ import annotations

import atexit
import weakref
from typing import Any, Protocol


class Closeable(Protocol):
    """Anything that drains, joins and lets go of its group at `close`."""

    def close(self) -> None:
        """May be called again."""


_open: weakref.WeakSet[Any] = weakref.WeakSet()


def close_at_exit(thing: Closeable) -> None:
    """Close `thing` when the interpreter exits, if it still exists then."""
    _open.add(thing)


def close_all() -> None:
    """Close everything that is still open."""
    for thing in list(_open):
        thing.close()
        _open.discard(thing)


atexit.register(close_all)

"""Which process an emulated network belongs to: a file a network, locked for as long as its owner lives.

The kernel lets go of the lock when the owner ends, however it ends, and a process number that is used again
does no harm.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import final

from kimad.launch.testbed.names import TAG, TestbedError

OWNERS = Path("/run/kimad")

_held: set[str] = set()  # tags claimed by this process; to open and close such a file would let go of its lock


@final
class Claim:
    """A tag that nobody else uses."""

    def __init__(self) -> None:
        import fcntl  # not on every system, unlike this module

        self.tag = uuid.uuid4().hex[:8]
        self._path = OWNERS / self.tag
        try:
            OWNERS.mkdir(mode=0o755, exist_ok=True)
            part = self._path.with_suffix(".part")  # locked before anybody can take it for an orphan's
            self._fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._fd, f"{os.getpid()}\n".encode())
            os.rename(part, self._path)
        except OSError as error:
            raise TestbedError(f"{self._path} cannot be made: {error.strerror}") from error
        _held.add(self.tag)

    def release(self) -> None:
        """Nothing is left that belongs to this tag. May be called again."""
        if self.tag in _held:
            self._path.unlink(missing_ok=True)
            _held.discard(self.tag)
            os.close(self._fd)


def claimed() -> list[str]:
    """The tags that have an owner file, with a living owner or without."""
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(OWNERS) if TAG.fullmatch(name))
    return []


def is_orphan(tag: str) -> bool:
    """Whether the owner of a tag is gone. A tag without an owner file is not ours to judge: False."""
    import fcntl

    if tag in _held:
        return False
    try:
        fd = os.open(OWNERS / tag, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # it lives
    finally:
        os.close(fd)
    return True


def forget(tag: str) -> None:
    """Remove the owner file of an orphan."""
    if tag not in _held:
        (OWNERS / tag).unlink(missing_ok=True)

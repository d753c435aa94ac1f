"""A file of lines that another process is writing, read as it grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

_CHECKED_BYTES = 256  # of what was read last, looked at again to see whether the file is still the same


@final
class Tail:
    """Hands out each complete line once; starts again when the file was cut, replaced or written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._last = b""  # the bytes before the offset
        self._inode = 0

    def read(self) -> tuple[list[str], bool]:
        """Lines that are new since the last call, and whether what was handed out before is void.

        A file that is not there has no lines; a line without its end waits for it. Raises OSError.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return [], self._forget()
        anew = False
        with file:
            inode = os.fstat(file.fileno()).st_ino
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) != self._last or (self._offset and inode != self._inode):
                anew = self._forget()
                file.seek(0)
            self._inode = inode
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        self._last = (self._last + data)[-_CHECKED_BYTES:]
        return [line.decode("utf-8", "replace") for line in data.split(b"\n")[:-1]], anew

    def _forget(self) -> bool:
        known = self._offset > 0
        self._offset, self._last = 0, b""
        return known

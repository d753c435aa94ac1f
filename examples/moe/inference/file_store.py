"""The experts in a file: a magic, the manifest, then every expert at a multiple of a page."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import final

from torch import Tensor

from examples.moe.errors import MoeError
from examples.moe.inference.layout import Key, Manifest, StoreError, as_bytes
from examples.moe.inference.store import Store

MAGIC = b"KMOE\x00\x00\x00\x01"
PAGE_BYTES = 4096
MAX_MANIFEST_BYTES = 1 << 24
_LENGTH = struct.Struct("<Q")  # of the manifest


def pages(size: int) -> int:
    """The next multiple of a page, in bytes."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def write_experts(path: Path, manifest: Manifest, experts: Tensor) -> None:
    """Write the file whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = manifest.encode()
    head = MAGIC + _LENGTH.pack(len(text)) + text
    with partial.open("wb") as file:
        file.write(head.ljust(pages(len(head)), b"\0"))
        for row in experts:
            file.write(bytes(as_bytes(row)).ljust(pages(manifest.expert_bytes), b"\0"))
    os.replace(partial, path)


@final
class FileStore(Store):
    """Reads with `preadv`, straight into the slot."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError: no such file, something else, or one that has been cut short."""
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"experts {path}: {error.strerror}") from None
        self._path = path
        try:
            head = os.pread(self._fd, len(MAGIC) + _LENGTH.size, 0)
            if not head.startswith(MAGIC) or len(head) < len(MAGIC) + _LENGTH.size:
                raise StoreError(f"experts {path}: not a file of experts (it must begin with {MAGIC!r})")
            (length,) = _LENGTH.unpack(head[len(MAGIC) :])
            if length > MAX_MANIFEST_BYTES:
                raise StoreError(f"experts {path}: a manifest of {length} bytes; allowed: {MAX_MANIFEST_BYTES}")
            super().__init__(Manifest.decode(os.pread(self._fd, length, len(head))))
            self._start = pages(len(head) + length)
            count = len(self.manifest.checksums)
            needed = self._start + count * pages(self.manifest.expert_bytes)
            size = os.fstat(self._fd).st_size
            if size != needed:
                raise StoreError(f"experts {path} has {size} bytes; {count} experts need {needed}: cut or altered")
        except MoeError:
            os.close(self._fd)
            raise

    def read(self, key: Key, offset: int, into: memoryview) -> None:
        place = self._start + self.manifest.index(key) * pages(self.manifest.expert_bytes) + offset
        done = 0
        while done < len(into):
            try:
                got = os.preadv(self._fd, [into[done:]], place + done)
            except OSError as error:
                raise StoreError(f"experts {self._path}: {error.strerror}") from None
            if not got:
                raise StoreError(f"experts {self._path} ends within expert {key[1]} of layer {key[0]}")
            done += got
        self.bytes_read += done

    def close(self) -> None:
        os.close(self._fd)

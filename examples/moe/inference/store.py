"""Where the experts are kept: the interface, and the store in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from torch import Tensor

from examples.moe.inference.layout import Key, Manifest, as_bytes


class Store(ABC):
    """Experts by layer and number. `bytes_read` counts what really left it."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.bytes_read = 0

    @abstractmethod
    def read(self, key: Key, offset: int, into: memoryview) -> None:
        """Fill `into` with the expert's bytes from `offset` on.

        Raises:
            StoreError: they cannot be had.
        """

    def close(self) -> None:  # noqa: B027 - not all hold something
        """Give back what it holds open."""


@final
class MemoryStore(Store):
    """In this process's memory: pinned where there is a CUDA device to copy to, plain otherwise."""

    def __init__(self, manifest: Manifest, experts: Tensor, pin: bool = False) -> None:
        super().__init__(manifest)
        self._experts = experts.pin_memory() if pin else experts

    def read(self, key: Key, offset: int, into: memoryview) -> None:
        row = as_bytes(self._experts[self.manifest.index(key)])
        into[:] = row[offset : offset + len(into)]
        self.bytes_read += len(into)

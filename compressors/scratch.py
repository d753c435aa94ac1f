"""Work in pieces that stay in cache, in buffers that are allocated once a thread.

Fresh arrays of a large layer's size would cost more in page faults than all arithmetic on them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.tensors import Floats

CHUNK = 1 << 17  # entries; a multiple of the quantizers' blocks
# The same for torch: from 32768 entries on it opens a parallel region, which stalls when ranks share cores.
TORCH_PIECE = 32767 // 256 * 256


@final
class Scratch(threading.local):
    """Named buffers of one thread; they grow and are never given back."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, type[np.generic]], NDArray[Any]] = {}
        self._addresses: dict[tuple[str, type[np.generic]], int] = {}

    def get(self, name: str, size: int, dtype: type[np.generic]) -> NDArray[Any]:
        """Return `size` entries of the buffer, with what was left in them."""
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            self._buffers[name, dtype] = buffer = np.empty(size, dtype)
            self._addresses[name, dtype] = buffer.ctypes.data
        return buffer[:size]

    def at(self, name: str, size: int, dtype: type[np.generic]) -> int:
        """The address of them, good until more are asked for."""
        self.get(name, size, dtype)
        return self._addresses[name, dtype]


SCRATCH = Scratch()


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut 0..n into slices of at most `size`."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))


def add_scaled(target: Floats, decoded: Floats, scale: float) -> None:
    """target += scale * decoded, each operation rounded on its own (no FMA); `decoded` is overwritten."""
    if scale == 1.0:
        np.add(target, decoded, out=target)
    elif scale == -1.0:
        np.subtract(target, decoded, out=target)
    else:
        np.multiply(decoded, np.float32(scale), out=decoded)
        np.add(target, decoded, out=target)


def all_finite(values: Floats) -> bool:
    """Whether no entry is NaN or infinite; reads chunk by chunk, allocates nothing."""
    for part in chunks(values.size):
        mask = SCRATCH.get("finite", part.stop - part.start, np.bool_)
        if not np.isfinite(values[part], out=mask).all():
            return False
    return True

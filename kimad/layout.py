"""The layers of a model, and how DDP packs them into buckets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Layer:
    """One parameter, known by its name: buckets are rebuilt, names stay."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"  # of its gradient; "sparse" for one that comes with indices
    itemsize: int = 4  # bytes of an entry

    @property
    def numel(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the gradient."""
        return self.numel * self.itemsize

    @property
    def plain(self) -> bool:
        """Whether it travels by DDP's own all-reduce in its own type, not compressed: all but dense float32 does."""
        return self.dtype != "float32"


@final
@dataclass(frozen=True, slots=True)
class Slot:
    """A layer's place in a bucket: entries `start` to `start + layer.numel` of its flat buffer."""

    layer: Layer
    start: int

    @property
    def stop(self) -> int:
        """First entry behind the layer."""
        return self.start + self.layer.numel


def pack(layers: Iterable[Layer]) -> tuple[Slot, ...]:
    """Slots of layers that lie back to back, as DDP lays them."""
    slots, at = [], 0
    for layer in layers:
        slots.append(Slot(layer, at))
        at += layer.numel
    return tuple(slots)


def digest(parts: Iterable[object]) -> int:
    """64-bit digest (signed, so that it fits an int64 tensor) of the texts of `parts`, in order."""
    h = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = str(part).encode()
        h.update(len(text).to_bytes(4, "little") + text)
    return int.from_bytes(h.digest(), "little", signed=True)


def layers_digest(layers: Sequence[Layer]) -> int:
    """Digest of names, shapes and types, in order."""
    return digest(f"{layer.name} {layer.shape} {layer.dtype}" for layer in layers)

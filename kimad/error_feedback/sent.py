"""The frames of a step, kept until it is known whether they count, and those that an operator starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

from torch import Tensor

from kimad.compressors import Batch, Option, compressor, damping


@final
class Sent:
    """Frames by reference, in the order in which they were encoded."""

    def __init__(self) -> None:
        self._frames: list[tuple[tuple[str, ...], Batch, Tensor]] = []
        self._warm: dict[str, Tensor] = {}

    def keep(self, names: Sequence[str], batch: Batch, frames: Tensor) -> None:
        """One batch of layers."""
        self._frames.append((tuple(names), batch, frames))
        for i, option in enumerate(batch.options):
            if compressor(option.operator).warm:
                self._warm[names[i]] = batch.part(frames, i).clone()

    def warm(self, names: Sequence[str]) -> Sequence[Tensor | None]:
        """The frames that these layers start from, one a layer; empty where there are none at all."""
        return [self._warm.get(name) for name in names] if self._warm else ()

    def counted(self, undo: set[str] | None) -> Iterator[tuple[str, Option, Tensor]]:
        """The other layers, with their options and frames."""
        for names, batch, frames in self._frames if undo is not None else ():
            for i, name in enumerate(names):
                if undo is not None and name not in undo:
                    yield name, batch.options[i], batch.part(frames, i)

    def undone(self, undo: set[str] | None) -> Iterator[tuple[str, Tensor, float]]:
        """Layers that are named in `undo` (None: all), with their frames and damping."""
        for names, batch, frames in self._frames:
            if undo is not None and undo.isdisjoint(names):
                continue
            for i, factor in enumerate(factors(batch)):
                if undo is None or names[i] in undo:
                    yield names[i], batch.part(frames, i), factor

    def forget(self) -> None:
        """The step is over."""
        self._frames.clear()

    def warm_frames(self) -> dict[str, Tensor]:
        """By layer name."""
        return dict(self._warm)

    def load(self, warm: Mapping[str, Tensor]) -> None:
        """Replace everything by these frames to start from."""
        self._warm = {name: frame.clone() for name, frame in warm.items()}
        self._frames.clear()


def factors(batch: Batch) -> list[float]:
    """What is taken off, as a part of what was decoded, by layer."""
    return [damping(shape, option) for shape, option in zip(batch.shapes, batch.options, strict=True)]

"""Error feedback (EF14, arXiv 1901.09847): what was not sent is remembered, and sent later.

For every layer and step: residual_new + decoded = residual_old + gradient, where decoded is what the frame carries, or,
for an operator that is no contraction by itself, a part of it (`kimad.compressors.damping`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Batch, compressor, damping, decode


@final
class Residual:
    """One flat float32 tensor a layer, by parameter name, allocated when a layer first owes something."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._owing: set[str] = set()
        self._sent: list[tuple[tuple[str, ...], Batch, Tensor]] = []  # of this step: layers, and their frames
        self._warm: dict[str, Tensor] = {}  # last frame of layers whose operator starts from it
        self._flushed: set[str] = set()  # sent whole this step: owing until the step is known to be valid

    def names(self) -> list[str]:
        """Layers that owe something."""
        return sorted(self._owing)

    def owed(self, name: str) -> Tensor | None:
        """What a layer owes, or None if that is nothing."""
        return self._memory[name] if name in self._owing else None

    def encode(
        self, names: Sequence[str], gradients: Sequence[Tensor], batch: Batch, out: Tensor, *, keys: Sequence[int],
        look: Callable[[str, Tensor], None] | None = None,
    ) -> None:  # fmt: skip
        """For each layer: residual += gradient; write its frame to `out`; residual -= damping * decode(frame).

        The frames are kept, by reference, until `end_step`. look: is shown each layer's name and what it owes before it
        is encoded. gradients: flat float32, finite; keys: seeds of the operators' randomness; one a layer, as names.
        """
        owed = [self._owing_more(name, gradient) for name, gradient in zip(names, gradients, strict=True)]
        warm = [self._warm.get(name) for name in names] if self._warm else ()
        factors = _factors(batch)
        if look is None and set(factors) <= {1.0}:
            batch.encode(owed, out, gradients=gradients, keys=keys, warm=warm)
        else:
            for name, memory, gradient in zip(names, owed, gradients, strict=True):
                np.add(memory.numpy(), gradient.numpy(), out=memory.numpy())
                if look is not None:
                    look(name, memory)
            batch.encode(owed, out, keys=keys, warm=warm)
            batch.decode(out, owed, [-factor for factor in factors])
        self._sent.append((tuple(names), batch, out))
        for i, option in enumerate(batch.options):
            if compressor(option.operator).warm:
                self._warm[names[i]] = batch.part(out, i).clone()

    def _owing_more(self, name: str, gradient: Tensor) -> Tensor:
        memory = self._memory.get(name)
        if memory is None:
            memory = self._memory[name] = torch.zeros_like(gradient)
        elif name not in self._owing:
            memory.zero_()
        self._owing.add(name)
        return memory

    def flush(self, name: str, gradient: Tensor) -> None:
        """gradient += residual, for a layer that is sent whole; forgotten at `end_step` if the step is valid."""
        owed = self.owed(name)
        if owed is not None:
            target = gradient.numpy()
            np.add(target, owed.numpy(), out=target)
            self._flushed.add(name)

    def end_step(self, undo: set[str] | None) -> None:
        """Close a step. What the layers in `undo` (None: all layers) sent did not arrive: they owe it again."""
        for names, batch, frames in self._sent:
            if undo is not None and undo.isdisjoint(names):
                continue
            for i, factor in enumerate(_factors(batch)):
                if undo is None or names[i] in undo:
                    decode(batch.part(frames, i), self._memory[names[i]], scale=factor)
        for name in self._flushed:
            if not (undo is None or name in undo):
                self._owing.discard(name)
        self._sent.clear()
        self._flushed.clear()

    def squared_norm(self) -> float:
        """Sum over layers of the squared norm of what is owed."""
        return float(sum(np.dot(e, e) for e in (self._memory[name].numpy() for name in self._owing)))

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of what is owed, by layer name."""
        return {name: self._memory[name].clone() for name in self.names()}

    def warm_frames(self) -> dict[str, Tensor]:
        """The frames that low rank starts from, by layer name."""
        return dict(self._warm)

    def load_state_dict(self, saved: dict[str, Tensor], warm: dict[str, Tensor] | None = None) -> None:
        """Replace everything owed, and the frames to start from, by what was saved."""
        self._warm = {name: frame.clone() for name, frame in (warm or {}).items()}
        self._memory = {name: tensor.detach().to(torch.float32).clone() for name, tensor in saved.items()}
        self._owing = set(saved)
        self._sent.clear()
        self._flushed.clear()


def _factors(batch: Batch) -> list[float]:
    """What is taken off, as a part of what was decoded, by layer."""
    return [damping(shape, option) for shape, option in zip(batch.shapes, batch.options, strict=True)]

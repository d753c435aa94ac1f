"""Error feedback (EF14, arXiv 1901.09847): what was not sent is remembered, and sent later.

For every layer and step: residual_new + decoded = residual_old + gradient.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import decode


@final
class Residual:
    """One flat float32 tensor a layer, by parameter name, allocated when a layer first owes something."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._owing: set[str] = set()
        self._frames: dict[str, list[Tensor]] = {}  # own frames of this step: what undoing needs
        self._flushed: set[str] = set()  # sent whole this step: owing until the step is known to be valid

    def names(self) -> list[str]:
        """Layers that owe something."""
        return sorted(self._owing)

    def owed(self, name: str) -> Tensor | None:
        """What a layer owes, or None if that is nothing."""
        return self._memory[name] if name in self._owing else None

    def add(self, name: str, gradient: Tensor) -> Tensor:
        """residual += gradient; returns the residual, which the caller encodes. Both flat float32 of one size."""
        memory = self._memory.get(name)
        if memory is None:
            memory = self._memory[name] = torch.zeros_like(gradient)
        target = memory.numpy()
        if name in self._owing:
            np.add(target, gradient.numpy(), out=target)
        else:
            np.copyto(target, gradient.numpy())
        self._owing.add(name)
        return memory

    def sent(self, name: str, frame: Tensor) -> None:
        """residual -= decode(frame). The frame is kept, by reference, until `end_step`."""
        decode(frame, self._memory[name], scale=-1.0)
        self._frames.setdefault(name, []).append(frame)

    def flush(self, name: str, gradient: Tensor) -> None:
        """gradient += residual, for a layer that is sent whole; forgotten at `end_step` if the step is valid."""
        owed = self.owed(name)
        if owed is not None:
            target = gradient.numpy()
            np.add(target, owed.numpy(), out=target)
            self._flushed.add(name)

    def end_step(self, undo: set[str] | None) -> None:
        """Close a step. What the layers in `undo` (None: all layers) sent did not arrive: they owe it again."""
        for name, frames in self._frames.items():
            if undo is None or name in undo:
                for frame in frames:
                    decode(frame, self._memory[name], scale=1.0)
        for name in self._flushed:
            if not (undo is None or name in undo):
                self._owing.discard(name)
        self._frames.clear()
        self._flushed.clear()

    def squared_norm(self) -> float:
        """Sum over layers of the squared norm of what is owed."""
        return float(sum(np.dot(e, e) for e in (self._memory[name].numpy() for name in self._owing)))

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of what is owed, by layer name."""
        return {name: self._memory[name].clone() for name in self.names()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Replace everything owed by what was saved."""
        self._memory = {name: tensor.detach().to(torch.float32).clone() for name, tensor in saved.items()}
        self._owing = set(saved)
        self._frames.clear()
        self._flushed.clear()

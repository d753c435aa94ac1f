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

from kimad.compressors import Option, compressor, damping, decode, encode, encode_owed


@final
class Residual:
    """One flat float32 tensor a layer, by parameter name, allocated when a layer first owes something."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._owing: set[str] = set()
        self._frames: dict[str, list[tuple[Tensor, float]]] = {}  # own frames of this step, with their damping
        self._warm: dict[str, Tensor] = {}  # last frame of layers whose operator starts from it
        self._flushed: set[str] = set()  # sent whole this step: owing until the step is known to be valid

    def names(self) -> list[str]:
        """Layers that owe something."""
        return sorted(self._owing)

    def owed(self, name: str) -> Tensor | None:
        """What a layer owes, or None if that is nothing."""
        return self._memory[name] if name in self._owing else None

    def encode(
        self, name: str, gradient: Tensor, option: Option, out: Tensor, *, shape: Sequence[int], key: int,
        look: Callable[[Tensor], None] | None = None,
    ) -> int:  # fmt: skip
        """residual += gradient; write the frame of the residual to `out`; residual -= damping * decode(frame).

        Returns the frame's length. The frame is kept, by reference, until `end_step`. look: is shown what is owed
        before it is encoded. gradient: flat float32, finite.
        """
        memory = self._memory.get(name)
        if memory is None:
            memory = self._memory[name] = torch.zeros_like(gradient)
        elif name not in self._owing:
            memory.zero_()
        self._owing.add(name)
        warm, factor = self._warm.get(name), damping(shape, option)
        if look is None and factor == 1:
            used = encode_owed(memory, gradient, option, out, shape=shape, key=key, warm=warm)
        else:
            target = memory.numpy()
            np.add(target, gradient.numpy(), out=target)
            if look is not None:
                look(memory)
            used = encode(memory, option, out, shape=shape, key=key, warm=warm)
            decode(out[:used], memory, scale=-factor)
        if used:
            self._frames.setdefault(name, []).append((out[:used], factor))
        if compressor(option.operator).warm:
            self._warm[name] = out[:used].clone()
        return used

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
                for frame, factor in frames:
                    decode(frame, self._memory[name], scale=factor)
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

    def warm_frames(self) -> dict[str, Tensor]:
        """The frames that low rank starts from, by layer name."""
        return dict(self._warm)

    def load_state_dict(self, saved: dict[str, Tensor], warm: dict[str, Tensor] | None = None) -> None:
        """Replace everything owed, and the frames to start from, by what was saved."""
        self._warm = {name: frame.clone() for name, frame in (warm or {}).items()}
        self._memory = {name: tensor.detach().to(torch.float32).clone() for name, tensor in saved.items()}
        self._owing = set(saved)
        self._frames.clear()
        self._flushed.clear()

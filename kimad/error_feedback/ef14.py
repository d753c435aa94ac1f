"""EF14 (arXiv 1901.09847): what was not sent is remembered, and sent later.

For every layer and step: residual_new + decoded = residual_old + gradient, where decoded is what the frame carries, or,
for an operator that is no contraction by itself, a part of it (`kimad.compressors.damping`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Batch, decode
from kimad.error_feedback.interface import ErrorFeedback, Look
from kimad.error_feedback.sent import Sent, factors


@final
class EF14(ErrorFeedback):
    """One residual a layer, allocated when a layer first owes something. sent: the frames, if somebody else looks."""

    memories = ("residual",)

    def __init__(self, sent: Sent | None = None) -> None:
        self._memory: dict[str, Tensor] = {}
        self._owing: set[str] = set()
        self._sent = sent if sent is not None else Sent()
        self._flushed: set[str] = set()  # sent whole this step: owing until the step is known to be valid

    def names(self) -> list[str]:
        """Layers that owe something."""
        return sorted(self._owing)

    def owed(self, name: str) -> Tensor | None:
        """What a layer owes, or None if that is nothing."""
        return self._memory[name] if name in self._owing else None

    def encode(
        self, names: Sequence[str], gradients: Sequence[Tensor], batch: Batch, out: Tensor, *, keys: Sequence[int],
        look: Look | None = None, whole: bool = False,
    ) -> None:  # fmt: skip
        """residual += gradient; encode it; residual -= damping * decode(frame). The gradients stay as they are."""
        owed = [self._owing_more(name, gradient) for name, gradient in zip(names, gradients, strict=True)]
        warm, taken = self._sent.warm(names), factors(batch)
        if look is None and set(taken) <= {1.0}:
            batch.encode(owed, out, gradients=gradients, keys=keys, warm=warm)
        else:
            for name, memory, gradient in zip(names, owed, gradients, strict=True):
                np.add(memory.numpy(), gradient.numpy(), out=memory.numpy())
                if look is not None:
                    look(name, memory)
            batch.encode(owed, out, keys=keys, warm=warm)
            batch.decode(out, owed, [-factor for factor in taken])
        self._sent.keep(names, batch, out)

    def _owing_more(self, name: str, gradient: Tensor) -> Tensor:
        memory = self._memory.get(name)
        if memory is None:
            memory = self._memory[name] = torch.zeros_like(gradient)
        elif name not in self._owing:
            memory.zero_()
        self._owing.add(name)
        return memory

    def flush(self, name: str, gradient: Tensor) -> None:
        """gradient += residual, which is forgotten at `end_step` if the step is valid."""
        owed = self.owed(name)
        if owed is not None:
            target = gradient.numpy()
            np.add(target, owed.numpy(), out=target)
            self._flushed.add(name)

    def arrived(self, name: str, average: Tensor, *, whole: bool) -> None:
        """It is the gradient already."""

    def end_step(self, undo: set[str] | None) -> None:
        for name, frame, factor in self._sent.undone(undo):
            decode(frame, self._memory[name], scale=factor)
        for name in self._flushed:
            if not (undo is None or name in undo):
                self._owing.discard(name)
        self._sent.forget()
        self._flushed.clear()

    def squared_norm(self) -> float:
        return float(sum(np.dot(e, e) for e in (self._memory[name].numpy() for name in self._owing)))

    def state_dict(self) -> dict[str, Any]:
        residual = {name: self._memory[name].clone() for name in self.names()}
        return {"residual": residual, "warm_frames": self._sent.warm_frames()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._memory = {name: tensor.detach().to(torch.float32).clone() for name, tensor in saved["residual"].items()}
        self._owing = set(self._memory)
        self._sent.load(saved.get("warm_frames", {}))
        self._flushed.clear()

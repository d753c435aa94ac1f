"""Deep gradient compression (arXiv 1712.01887): the momentum is taken before what is left out is remembered.

    velocity = momentum * velocity + gradient
    residual_new + decoded = residual_old + velocity
    velocity = 0 where an entry was sent            (momentum factor masking: what is late would push twice)

The optimizer's own momentum must be off: it would be taken twice. A layer of which every entry is sent keeps its
velocity, as nothing of it is late, so that at density 1 this is momentum SGD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Batch, Option, compressor, decode
from kimad.error_feedback.ef14 import EF14
from kimad.error_feedback.interface import ErrorFeedback, Look
from kimad.error_feedback.sent import Sent


@final
class DGC(ErrorFeedback):
    """A velocity a layer, and EF14 behind it."""

    memories = ("residual", "velocity")

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._velocity: dict[str, Tensor] = {}
        self._sent = Sent()
        self._residual = EF14(self._sent)
        self._scratch = torch.empty(0)

    def encode(
        self, names: Sequence[str], gradients: Sequence[Tensor], batch: Batch, out: Tensor, *, keys: Sequence[int],
        look: Look | None = None, whole: bool = False,
    ) -> None:  # fmt: skip
        velocities = [self._further(name, gradient) for name, gradient in zip(names, gradients, strict=True)]
        self._residual.encode(names, velocities, batch, out, keys=keys, look=look, whole=whole)

    def _further(self, name: str, gradient: Tensor) -> Tensor:
        velocity = self._velocity.get(name)
        if velocity is None:
            velocity = self._velocity[name] = gradient.clone()
        else:
            velocity.mul_(self._momentum).add_(gradient)
        return velocity

    def flush(self, name: str, gradient: Tensor) -> None:
        gradient.copy_(self._further(name, gradient))
        self._residual.flush(name, gradient)

    def arrived(self, name: str, average: Tensor, *, whole: bool) -> None:
        """It is the gradient already."""

    def end_step(self, undo: set[str] | None) -> None:
        for name, option, frame in self._sent.counted(undo):
            self._mask(self._velocity[name], option, frame)
        self._residual.end_step(undo)

    def _mask(self, velocity: Tensor, option: Option, frame: Tensor) -> None:
        if not compressor(option.operator).sparse or option.k == velocity.numel():
            return
        if self._scratch.numel() < velocity.numel():
            self._scratch = torch.empty(velocity.numel())
        sent = self._scratch[: velocity.numel()].zero_()
        decode(frame, sent)
        np.copyto(velocity.numpy(), 0.0, where=sent.numpy() != 0)

    def squared_norm(self) -> float:
        return self._residual.squared_norm()

    def state_dict(self) -> dict[str, Any]:
        velocity = {name: tensor.clone() for name, tensor in self._velocity.items()}
        return {**self._residual.state_dict(), "velocity": velocity}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._residual.load_state_dict(saved)
        self._velocity = {name: t.detach().to(torch.float32).clone() for name, t in saved["velocity"].items()}

"""EF21 (arXiv 2106.05203): ranks send how their gradient differs from what all others believe it to be.

    frame_m = C(gradient_m - u_m)        u_m += decode(frame_m)         rank m's estimate, known to everybody
    gradient for the optimizer = U = mean of all u_m                    U += mean of decode(frame_m)

For every layer and step: u_new = u_old + decoded, also for U with the mean of what was decoded; a layer that is sent
whole has u = its gradient and U = the average that arrived. decoded is what the frame carries, or a part of it
(`kimad.compressors.damping`). With `momentum` η (EF21-SGDM, arXiv 2305.15155) the gradient in all this is

    v += η (gradient - v)

which makes up for the noise of small batches, that EF21 by itself would feed back.
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

Tensors = dict[str, Tensor]


@final
class EF21(ErrorFeedback):
    """Three or, with momentum, four flat tensors a layer: u, U, the U of the step under way, and v."""

    memories = ("estimate", "average", "momentum")
    follows_average = True

    def __init__(self, momentum: float = 1.0) -> None:
        self._momentum = momentum  # η; 1 for none
        self._own: Tensors = {}  # u
        self._average: Tensors = {}  # U
        self._coming: Tensors = {}  # U, if the step is valid
        self._smooth: Tensors = {}  # v
        self._arrived: set[str] = set()  # layers whose `_coming` is of this step
        self._whole: Tensors = {}  # u of layers that were sent whole, if the step is valid
        self._sent = Sent()

    def encode(
        self, names: Sequence[str], gradients: Sequence[Tensor], batch: Batch, out: Tensor, *, keys: Sequence[int],
        look: Look | None = None, whole: bool = False,
    ) -> None:  # fmt: skip
        """The gradients' memory is used up: it holds v - u afterwards."""
        own = [_of(self._own, name, gradient) for name, gradient in zip(names, gradients, strict=True)]
        for name, gradient, u in zip(names, gradients, own, strict=True):
            self._smoothed(name, gradient)
            if look is not None:
                look(name, gradient if whole else gradient - u)
            if not whole:
                gradient.sub_(u)
        batch.encode(gradients, out, keys=keys, warm=self._sent.warm(names))
        if whole:
            sent = [torch.zeros_like(gradient) for gradient in gradients]
            batch.decode(out, sent, [1.0] * len(sent))
            self._whole.update(zip(names, sent, strict=True))
        else:
            batch.decode(out, own, factors(batch))
            self._sent.keep(names, batch, out)

    def _smoothed(self, name: str, gradient: Tensor) -> None:
        """gradient = v, one step on."""
        if self._momentum < 1:
            before = self._smooth.get(name)
            if before is None:
                self._smooth[name] = gradient.clone()
            else:
                gradient.copy_(before.lerp_(gradient, self._momentum))

    def flush(self, name: str, gradient: Tensor) -> None:
        self._smoothed(name, gradient)
        self._whole[name] = gradient.clone()

    def arrived(self, name: str, average: Tensor, *, whole: bool) -> None:
        """average = U, or U = average of a layer that was sent whole."""
        coming = _of(self._coming, name, average)
        if whole:
            coming.copy_(average)
        else:
            torch.add(_of(self._average, name, average), average, out=coming)
            average.copy_(coming)
        self._arrived.add(name)

    def end_step(self, undo: set[str] | None) -> None:
        for name, frame, factor in self._sent.undone(undo):
            decode(frame, self._own[name], scale=-factor)
        if undo is not None:
            for name in self._arrived - undo:
                spare = _of(self._average, name, self._coming[name])
                self._average[name], self._coming[name] = self._coming[name], spare
                if name in self._whole:
                    self._own[name] = self._whole[name]
        self._sent.forget()
        self._arrived.clear()
        self._whole.clear()

    def squared_norm(self) -> float:
        """Of the estimates: nothing is owed."""
        return float(sum(np.dot(u, u) for u in (tensor.numpy() for tensor in self._own.values())))

    def state_dict(self) -> dict[str, Any]:
        kept = zip(self.memories, (self._own, self._average, self._smooth), strict=True)
        copies = {kind: {name: t.clone() for name, t in sorted(memory.items())} for kind, memory in kept}
        return {**copies, "warm_frames": self._sent.warm_frames()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._own, self._average, self._smooth = (
            {name: tensor.detach().to(torch.float32).clone() for name, tensor in saved[kind].items()}
            for kind in self.memories
        )
        self._coming, self._whole = {}, {}
        self._arrived.clear()
        self._sent.load(saved.get("warm_frames", {}))


def _of(memory: Tensors, name: str, like: Tensor) -> Tensor:
    """A layer's own tensor, zeros at first."""
    found = memory.get(name)
    if found is None:
        found = memory[name] = torch.zeros_like(like)
    return found

"""Gradients accumulated without `no_sync`: seen at the second exchange of one optimizer step, and said.

A backward outside `no_sync` exchanges. If the gradient of the one before is still there, DDP's bucket holds that
average plus what is new, and all of it is sent again: error feedback loses nothing, but a step costs several exchanges,
and what had arrived once may now be left out.

One small parameter is watched, by a hook that autograd calls before it adds to the gradient. `zero_grad` has been
called if there is no gradient then, or only zeros; the optimizer has stepped if the parameter has changed (its version
does not tell: fused optimizers leave that as it is). A sum that no optimizer used is nobody's mistake: such is a
discriminator's gradient of its generator's step.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter

from kimad.layout import Layer

log = logging.getLogger("kimad")

SAMPLES = 64  # entries whose change shows a step


def smallest(named: Sequence[tuple[Parameter, Layer]]) -> Parameter | None:
    """The parameter that is watched at the least cost, the last of several; None if there is none to watch."""
    found = [(layer.numel, parameter) for parameter, layer in reversed(named) if layer.numel and not layer.plain]
    return min(found, key=lambda one: one[0])[1] if found else None


@final
class Watch:
    """Warns once, through the logger `kimad`."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = weakref.ref(parameter)
        self._exchanges = 0  # since the gradient was cleared
        self._values = _some(parameter).clone()  # of the parameter, after the latest of them
        self._touched = False  # whether the running backward has come to the parameter
        self._handle = parameter.register_hook(self._before)  # type: ignore[no-untyped-call]

    def exchanged(self) -> None:
        """A backward has ended whose gradients were exchanged."""
        parameter = self._parameter()
        if parameter is not None and self._touched:
            self._touched = False
            self._exchanges += 1
            self._values.copy_(_some(parameter))

    def close(self) -> None:
        """Stop watching."""
        self._handle.remove()

    def _before(self, _: Tensor) -> None:
        """A backward is about to add to the gradient."""
        parameter = self._parameter()
        if parameter is None:
            return
        self._touched = True
        if self._exchanges > 1 and not torch.equal(self._values, _some(parameter)):
            log.warning(
                "gradients were exchanged %d times before the optimizer's step, each time with all that had been sent "
                "before: put every forward and backward of a step but the last into `with model.no_sync():`, or, "
                "where nothing should accumulate, call optimizer.zero_grad() in every step",
                self._exchanges,
            )
            self.close()
        if parameter.grad is None or not bool(parameter.grad.any()):
            self._exchanges = 0


def _some(parameter: Parameter) -> Tensor:
    """Its first entries in memory; nothing is copied."""
    return parameter.detach().as_strided((min(SAMPLES, parameter.numel()),), (1,))

"""Gradients that stayed local: made by a backward that DDP did not answer with an exchange, and then used.

DDP averages what a backward through its own forward makes. Two kinds pass it by without a word: the second of two
backwards that follow two forwards, and one through `model.module`. The optimizer's step would tear the ranks apart.
So one parameter of each module is watched, by a hook that autograd calls when it has added to the gradient. Where a
backward outside `no_sync` ends without an exchange, those that it touched are local, until an exchange takes their sum
along or their gradient is cleared; and an optimizer that is about to step with one is stopped. Local gradients that
nobody uses are no mistake: such are a discriminator's of its generator's step.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, final

from torch import Tensor
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from kimad.errors import SyncError
from kimad.internals import after_backward


@final
class LocalGradients:
    """Watches one model, on every rank."""

    def __init__(self, model: DistributedDataParallel, named: Sequence[tuple[str, Parameter]]) -> None:
        self._model = weakref.ref(model)
        watched = smallest_of_modules(named)
        self._watched = {name: weakref.ref(parameter) for name, parameter in watched.items()}
        self._local: set[str] = set()
        self._touched: set[str] = set()  # in the backward that runs
        self._handles: list[Any] = [register_optimizer_step_pre_hook(self._before_step)]
        for name, parameter in watched.items():
            touched = partial(self._touch, name)
            self._handles.append(parameter.register_post_accumulate_grad_hook(touched))  # type: ignore[no-untyped-call]

    def exchanged(self) -> None:
        """The last bucket of a backward is about to be averaged."""
        self._local.clear()
        self._touched.clear()

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def _touch(self, name: str, _: Tensor) -> None:
        """A backward has added to a gradient; DDP hears of it next."""
        if not self._touched:
            after_backward(self._end)
        self._touched.add(name)

    def _end(self) -> None:
        model = self._model()
        if self._touched and model is not None and model.require_backward_grad_sync:
            self._local |= self._touched
        self._touched.clear()

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        """Raises SyncError."""
        if not self._local:
            return
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        local = [(name, seen()) for name, seen in self._watched.items() if name in self._local]
        used = [name for name, p in local if p is not None and id(p) in held and p.grad is not None and p.grad.any()]
        if used:
            others = f" and {len(used) - 1} more" if len(used) > 1 else ""
            raise SyncError(
                f"the gradient of {used[0]}{others} was not averaged over the ranks: its last backward did not follow "
                "a forward of the DDP model. Call the model itself, not model.module, and run backward after each "
                "forward, before the next one; put what shall stay local into `with model.no_sync():`"
            )


def smallest_of_modules(named: Sequence[tuple[str, Parameter]]) -> dict[str, Parameter]:
    """Of the parameters of each module the one that is looked at at the least cost, by its name; none that is empty."""
    found: dict[str, tuple[str, Parameter]] = {}
    for name, parameter in named:
        module = name.rpartition(".")[0]
        if parameter.numel() and (module not in found or parameter.numel() < found[module][1].numel()):
            found[module] = name, parameter
    return dict(found.values())

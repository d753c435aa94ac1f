"""Forward pre-hooks on DDP models. They are functions of this module, so that a model that has one can be pickled.

Imported once the first DDP model exists: DDP itself needs the compiler that `disable` brings in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_once: WeakKeyDictionary[nn.Module, tuple[Callable[[DistributedDataParallel], None], Any]] = WeakKeyDictionary()
_each: WeakKeyDictionary[nn.Module, Callable[[], None]] = WeakKeyDictionary()


def before_first_training_forward(
    model: DistributedDataParallel, call: Callable[[DistributedDataParallel], None]
) -> None:
    """Call `call(model)` before the first forward that records gradients; nothing stays on the model after it."""
    _once[model] = call, model.register_forward_pre_hook(_first)


def before_each_training_step(model: DistributedDataParallel, call: Callable[[], None]) -> None:
    """Call `call()` before every forward in training mode whose backward will exchange gradients."""
    _each[model] = call
    model.register_forward_pre_hook(_step)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _first(module: nn.Module, inputs: Any) -> None:
    if module not in _once or not torch.is_grad_enabled():
        return
    call, handle = _once.pop(module)
    handle.remove()
    call(module)  # type: ignore[arg-type]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _step(module: nn.Module, inputs: Any) -> None:
    call = _each.get(module)
    if call is not None and module.training and torch.is_grad_enabled() and module.require_backward_grad_sync:
        call()

"""What Kimad uses of torch and torch does not promise: every private name stands here, and nowhere else.

A test looks for each of them, and for the undocumented ones without an underscore that are used elsewhere, so that a
torch which has lost one is told by that name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

# Public as `torch.distributed.GradBucket` and so on; but type checkers know these names here alone.
from torch._C._distributed_c10d import GradBucket, PrefixStore, Store, TCPStore
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "GradBucket",
    "PrefixStore",
    "Store",
    "TCPStore",
    "after_backward",
    "holds",
    "hook_name",
    "sparse_parts",
    "store_of",
    "used_marks",
]


def hook_name(model: DistributedDataParallel) -> str | None:
    """What a model's communication hook is called, one of torch's own or a script's; None if it has none."""
    if model._comm_hooks:
        return getattr(model._comm_hooks[0][0], "__qualname__", "a hook")
    logged = model._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    return logged.get("comm_hook") or None  # one of those that torch has in C++


def holds(model: DistributedDataParallel, state: object) -> bool:
    """Whether a model has a communication hook with this state; one whose constructor has failed has none."""
    return any(one is state for _, one in getattr(model, "_comm_hooks", ()))


def store_of(group: dist.ProcessGroup) -> Store:
    """The store on which the ranks of a group met."""
    return dist.distributed_c10d._get_process_group_store(group)  # get_group_store is younger than torch 2.4


def used_marks(model: DistributedDataParallel) -> Tensor:
    """DDP's own marks, one a parameter that it exchanges: int32, not 0 where this rank used it in this step.

    DDP keeps them with find_unused_parameters, and only then. They cannot be read inside a hook.
    """
    marks: Tensor = model.reducer._get_local_used_map()
    return marks


def after_backward(call: Callable[[], None]) -> None:
    """Have autograd call `call()` at the end of the backward that runs. Raises RuntimeError when none runs."""
    torch.autograd.Variable._execution_engine.queue_callback(call)


def sparse_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Indices and values of a sparse tensor as they are, whether or not an index occurs twice."""
    return tensor._indices(), tensor._values()

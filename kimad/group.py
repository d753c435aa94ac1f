"""A process group of Kimad's own, beside DDP's: one order of collectives per group is what keeps them apart.

It is made directly on the store of DDP's group. `new_group` would give a group made for the same ranks after an
earlier one was closed the same name, and with it the addresses that the earlier one left in the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol, cast

import torch.distributed as dist
from torch import Tensor

from kimad.errors import AttachError
from kimad.internals import PrefixStore, Store, store_of
from kimad.layout import Layer, layers_digest


class Work(Protocol):
    """A collective under way."""

    def wait(self) -> object:
        """Block until it is done; raises RuntimeError when a peer or the network is lost, or time is up."""


class Group(Protocol):
    """The part of torch's process group that is used. Tensors must be contiguous."""

    def rank(self) -> int: ...
    def size(self) -> int: ...
    def allreduce(self, tensors: list[Tensor]) -> Work: ...
    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor]) -> Work: ...
    def broadcast(self, tensors: list[Tensor]) -> Work: ...
    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Work: ...
    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Work: ...


_made: Counter[str] = Counter()


def make_group(ddp_group: dist.ProcessGroup, layers: Sequence[Layer], timeout_s: float) -> tuple[Group, Store]:
    """A gloo group of the same ranks and the store it met on. Collective: all ranks of `ddp_group` call it."""
    place = f"kimad/{layers_digest(layers) & (2**64 - 1):016x}"
    key = f"{ddp_group.group_name}/{place}"
    _made[key] += 1
    try:
        store = PrefixStore(f"{place}/{_made[key]}", store_of(ddp_group))
        make = cast(Any, dist).ProcessGroupGloo
        group = make(store, ddp_group.rank(), ddp_group.size(), timedelta(seconds=timeout_s))
    except RuntimeError as error:
        raise AttachError(
            f"rank {ddp_group.rank()} could not connect to the others: {error}; attach on every rank, to the same "
            f"model ({len(layers)} layers here)"
        ) from error
    return cast(Group, group), store


def ranks_of(group: dist.ProcessGroup) -> tuple[int, ...]:
    """Its ranks, as all processes of the program are numbered."""
    return tuple(dist.get_process_group_ranks(group))

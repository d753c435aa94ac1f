"""Process groups of an emulated run, made ready for a shaped link before the script has them.

The kernel paces no connection's first ten segments (640 KB on loopback), and a connection must be found before it is
paced. A program that fills a new group at once would see a link without limit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from kimad import state

_ROUNDS = 16  # of one segment each between every two ranks, at least ten


def on_every_new_group(made: Callable[[Any, list[int]], Any]) -> None:
    """Call `made(group, ranks)` on its members after every `torch.distributed.new_group` and for all groups of Kimad.

    `ranks` are its members' ranks in the run. For a group of its own, Kimad then uses the one that `made` returns.
    """
    new_group, make_group = dist.new_group, state.make_group  # type: ignore[attr-defined]

    @functools.wraps(new_group)
    def new_group_and_tell(*args: Any, **kwargs: Any) -> Any:
        group = new_group(*args, **kwargs)
        if isinstance(group, dist.ProcessGroup):  # and not the mark of a rank outside it
            made(group, dist.get_process_group_ranks(group))
        return group

    @functools.wraps(make_group)
    def make_group_and_tell(ddp_group: Any, *args: Any, **kwargs: Any) -> Any:
        group, store = make_group(ddp_group, *args, **kwargs)
        return made(group, dist.get_process_group_ranks(ddp_group)), store

    dist.new_group = dist.distributed_c10d.new_group = new_group_and_tell
    state.make_group = make_group_and_tell  # type: ignore[attr-defined]


def warm_up(group: Any) -> None:
    """Send something small from every rank to every other one; on all members of a gloo group alike."""
    if group.name() != "gloo":
        return
    sent = torch.zeros(group.size())
    for _ in range(_ROUNDS):
        group.alltoall_base(torch.empty_like(sent), sent, [], []).wait()

"""Small models and training loops that the distributed tests share. Runs on the ranks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import kimad


@final
class Zoo(nn.Module):
    """Layers of every awkward kind: shared, frozen, scalar, empty, convolution, large, and one that may stay unused."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 8, 3)
        self.shared = nn.Linear(64, 64, bias=False)
        self.again = nn.Linear(64, 64)
        self.again.weight = self.shared.weight
        self.first = nn.Linear(8 * 36, 64)
        self.frozen = nn.Linear(64, 64)
        self.frozen.requires_grad_(False)
        self.wide = nn.Linear(64, 700)
        self.last = nn.Linear(700, 10)
        self.scalar = nn.Parameter(torch.tensor(1.0))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.maybe = nn.Linear(64, 64)

    def forward(self, x: Tensor, use_maybe: bool = True) -> Tensor:
        h = self.convolution(x).relu().flatten(1)
        h = self.again(self.shared(self.first(h)).relu()).relu()
        if use_maybe:
            h = h + self.maybe(h)
        h = self.frozen(h) * self.scalar + self.empty.sum()
        y: Tensor = self.last(self.wide(h).relu())
        return y


def flat(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def same_on_all_ranks(model: nn.Module) -> bool:
    """Whether every rank's parameters are bit-identical to this rank's."""
    mine = flat(model).view(torch.uint8)
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(theirs, mine)
    return all(torch.equal(mine, other) for other in theirs)


def wrap(model: nn.Module, **options: Any) -> DistributedDataParallel:
    """DDP with small buckets."""
    return DistributedDataParallel(model, **{"bucket_cap_mb": 0.1, **options})


def batch(rank: int, step: int) -> Tensor:
    """The input of one rank in one step."""
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1000 * step + rank))


def train(
    ddp: DistributedDataParallel,
    rank: int,
    steps: int,
    *,
    learning_rate: float = 0.02,
    accumulate: bool = False,
    after: Callable[[int], None] | None = None,
    **forward: Any,
) -> None:
    """SGD with momentum on random data; `after(step)` is called behind every step."""
    optimizer = torch.optim.SGD([p for p in ddp.parameters() if p.requires_grad], lr=learning_rate, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        if accumulate:
            with ddp.no_sync():
                ddp(batch(rank, 10_000 + step), **forward).pow(2).mean().backward()
        with contextlib.nullcontext():
            ddp(batch(rank, step), **forward).pow(2).mean().backward()
        optimizer.step()
        if after is not None:
            after(step)


def swap(thing: object, name: str, new: object) -> None:
    """Put something else in the place of a method or an attribute, for as long as `thing` lives."""
    setattr(thing, name, new)


def pair(config: kimad.Config, **options: Any) -> tuple[DistributedDataParallel, DistributedDataParallel, kimad.State]:
    """The same model twice: plain, and with Kimad attached."""
    model = Zoo()
    plain = wrap(copy.deepcopy(model), **options)
    ours = wrap(model, **options)
    return plain, ours, kimad.attach(ours, config)

"""The penalty on the moments of all ranks: its gradient is that of one process with all images."""

from __future__ import annotations

import torch
from torch.nn.parallel import DistributedDataParallel

from examples.wwae.model import AutoEncoder
from examples.wwae.moments import over_ranks, own
from examples.wwae.objective import Method, loss
from tests.dist.ranks import Ranks

METHOD = Method("wwae", 2.0)


def gradients(rank: int, world_size: int, shared_by_all: bool) -> list[list[float]]:
    torch.manual_seed(0)
    model = AutoEncoder((1, 3, 3), latent=3, hidden=12)
    images, noise = torch.rand(32, 1, 3, 3), torch.randn(32, 3)
    if world_size > 1:
        ddp = DistributedDataParallel(model)
        mine, part = images[rank::world_size], noise[rank::world_size]
        parts = loss(METHOD, ddp(mine, part), mine, part, over_ranks if shared_by_all else own)
    else:
        parts = loss(METHOD, model(images, noise), images, noise)
    parts.total.backward()  # type: ignore[no-untyped-call]
    return [p.grad.flatten().tolist() for p in model.parameters() if p.grad is not None]


def furthest(a: list[list[float]], b: list[list[float]]) -> float:
    flat = [torch.tensor([value for part in parts for value in part], dtype=torch.float64) for parts in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


def test_global_moments_and_local_ones(two_ranks: Ranks) -> None:
    alone = gradients(0, 1, True)
    shared = two_ranks.run(gradients, 2, True)
    assert shared[0] == shared[1]
    assert furthest(shared[0], alone) < 1e-6
    local = two_ranks.run(gradients, 2, False)
    assert local[0] == local[1]
    assert furthest(local[0], alone) > 1e-3, "each rank's own penalty is another one"

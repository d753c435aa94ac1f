"""Backwards that DDP does not answer with an exchange: stopped where they would be used, let pass where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import same_on_all_ranks

pytestmark = pytest.mark.torch

CONFIG = kimad.Config(kimad.Fixed("topk", 0.5, "log4"), outage_timeout_s=20)
Backward = Callable[[DistributedDataParallel, int], None]


def make(**options: Any) -> DistributedDataParallel:
    torch.manual_seed(0)
    parts = {"encoder": nn.Linear(8, 16), "decoder": nn.Linear(16, 8, bias=False)}
    return DistributedDataParallel(nn.Sequential(*parts.values()), **options)


def x(rank: int) -> Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(rank))


def usual(model: DistributedDataParallel, rank: int) -> None:
    model(x(rank)).square().mean().backward()


def two_and_two(model: DistributedDataParallel, rank: int) -> None:
    first, second = model(x(rank)).square().mean(), model(x(rank + 7)).square().mean()
    first.backward()
    second.backward()


def around(model: DistributedDataParallel, rank: int) -> None:
    model.module(x(rank)).square().mean().backward()


def around_a_part(model: DistributedDataParallel, rank: int) -> None:
    usual(model, rank)
    model.module[0](x(rank)).square().mean().backward()


WRONG: dict[str, Backward] = {"two and two": two_and_two, "around": around, "around a part": around_a_part}


def trained(rank: int, name: str, options: dict[str, Any]) -> str:
    model = make(**options)
    state = kimad.attach(model, CONFIG)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    usual(model, rank)
    optimizer.step()
    optimizer.zero_grad()
    before = [p.detach().clone() for p in model.parameters()]
    said = ""
    try:
        WRONG[name](model, rank)
        optimizer.step()
    except kimad.SyncError as error:
        said = str(error)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), "nothing was stepped"
    optimizer.zero_grad()
    for _ in range(3):  # and training can go on
        usual(model, rank)
        optimizer.step()
        optimizer.zero_grad()
    assert same_on_all_ranks(model)
    state.close()
    model.module(x(rank)).square().mean().backward()
    optimizer.step()  # nobody watches any more
    return said


@pytest.mark.parametrize("options", [{}, {"static_graph": True}, {"find_unused_parameters": True}], ids=str)
@pytest.mark.parametrize("name", WRONG)
def test_they_are_stopped_before_the_ranks_part(two_ranks: Ranks, name: str, options: dict[str, Any]) -> None:
    for said in two_ranks.run(trained, name, options):
        assert "was not averaged over the ranks" in said
        assert "model.module" in said
        assert said.startswith("the gradient of 0.bias" + ("" if name == "around a part" else " and 1 more"))


def without_kimad(rank: int) -> bool:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    two_and_two(model, rank)
    optimizer.step()
    return same_on_all_ranks(model)


def test_ddp_by_itself_says_nothing(two_ranks: Ranks) -> None:
    assert two_ranks.run(without_kimad) == [False, False], "else there is nothing to guard against"


def harmless(rank: int, set_to_none: bool) -> None:
    """What passes DDP by and is no mistake."""
    model, other = make(), make()
    states = [kimad.attach(one, CONFIG) for one in (model, other)]
    optimizer, others = (torch.optim.SGD(one.parameters(), lr=0.1) for one in (model, other))
    for _ in range(3):
        # A generator's step through a bare discriminator, whose gradients are cleared before its own.
        other.module(model(x(rank))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none)
        others.zero_grad(set_to_none)
        usual(other, rank)
        others.step()
        others.zero_grad(set_to_none)
        # Accumulation, with and without its own context.
        with model.no_sync():
            usual(model, rank)
        usual(model, rank)
        optimizer.step()
        optimizer.zero_grad(set_to_none)
        around(model, rank)
        usual(model, rank)  # takes the sum along
        # Gradients that are looked at, of the parameters and of the input.
        seen = x(rank).requires_grad_()
        torch.autograd.grad(model.module(seen).sum(), [seen, *model.parameters()])
        optimizer.step()
        optimizer.zero_grad(set_to_none)
        with model.no_sync():  # meant to stay local, and then made equal
            usual(model, rank)
        optimizer.step()
        optimizer.zero_grad(set_to_none)
        for parameter in model.parameters():
            dist.broadcast(parameter.data, 0)
    assert all(same_on_all_ranks(one) for one in (model, other))
    for state in states:
        state.close()


@pytest.mark.parametrize("set_to_none", [True, False])
def test_what_is_no_mistake_is_let_pass(two_ranks: Ranks, set_to_none: bool) -> None:
    two_ranks.run(harmless, set_to_none)


def failing(rank: int) -> None:
    model = make()
    state = kimad.attach(model, CONFIG)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    usual(model, rank)
    optimizer.step()
    optimizer.zero_grad()

    def fail(_: Tensor) -> None:
        raise ArithmeticError

    loss = model.module(x(rank).requires_grad_()).square().mean()
    handle = model.module[0].weight.register_hook(fail)
    try:
        loss.backward()
    except ArithmeticError:
        pass
    else:
        raise AssertionError("the backward should have failed")
    handle.remove()
    optimizer.zero_grad()
    usual(model, rank)
    optimizer.step()
    optimizer.zero_grad()
    around(model, rank)
    try:
        optimizer.step()
    except kimad.SyncError:
        pass
    else:
        raise AssertionError("it watches on after a backward that failed")
    state.close()


def test_a_backward_that_failed_is_nothing_to_it(two_ranks: Ranks) -> None:
    two_ranks.run(failing)

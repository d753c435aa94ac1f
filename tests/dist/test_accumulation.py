"""Gradients accumulated without `no_sync` are told, once, on rank 0; what only looks like it is not."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.accumulation import smallest
from kimad.layout import Layer
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, batch, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch

CONFIG = kimad.Config(kimad.Fixed("topk", 0.05, "log4"), outage_timeout_s=20)
STEPS = 4
Clear = Callable[[torch.optim.Optimizer], None]


@contextlib.contextmanager
def warnings_of_kimad() -> Iterator[list[str]]:
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, log = Keep(logging.WARNING), logging.getLogger("kimad")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def optimizer_of(model: nn.Module, kind: str) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=1e-4, foreach=True)
    if kind == "fused":
        return torch.optim.Adam(parameters, lr=1e-4, fused=True)
    return torch.optim.SGD(parameters, lr=1e-3, foreach=kind == "foreach")


def backward(model: DistributedDataParallel, rank: int, step: int) -> None:
    model(batch(rank, step)).pow(2).mean().backward()


def accumulating(rank: int, kind: str, options: dict[str, Any], set_to_none: bool) -> list[str]:
    model = wrap(Zoo(), **options)
    state = kimad.attach(model, CONFIG)
    optimizer = optimizer_of(model, kind)
    with warnings_of_kimad() as said:
        for step in range(STEPS):
            optimizer.zero_grad(set_to_none=set_to_none)
            for part in range(3):
                backward(model, rank, 10 * step + part)
            optimizer.step()
        assert same_on_all_ranks(model)
    assert len(state.records) == 3 * STEPS
    state.close()
    return said


@pytest.mark.parametrize("kind", ["sgd", "foreach", "adam", "fused"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_accumulation_without_no_sync_is_told_once(two_ranks: Ranks, kind: str, set_to_none: bool) -> None:
    first, second = two_ranks.run(accumulating, kind, {}, set_to_none)
    assert len(first) == 1
    assert "exchanged 3 times" in first[0]
    assert "no_sync" in first[0]
    assert "zero_grad" in first[0]
    assert second == []


@pytest.mark.parametrize("options", [{"gradient_as_bucket_view": True}, {"find_unused_parameters": True},
                                     {"static_graph": True}])  # fmt: skip
def test_accumulation_is_told_whatever_ddp_does(two_ranks: Ranks, options: dict[str, Any]) -> None:
    first, second = two_ranks.run(accumulating, "sgd", options, True)
    assert len(first) == 1
    assert second == []


def registered_by_hand(rank: int) -> list[str]:
    model, state = wrap(Zoo()), kimad.State(CONFIG)
    model.register_comm_hook(state, kimad.hook)
    optimizer = optimizer_of(model, "sgd")
    with warnings_of_kimad() as said:
        for step in range(STEPS):
            optimizer.zero_grad()
            for part in range(2):
                backward(model, rank, 10 * step + part)
            optimizer.step()
    state.close()
    return said


def test_a_hook_registered_by_hand_tells_it_too(two_ranks: Ranks) -> None:
    first, _ = two_ranks.run(registered_by_hand)
    assert len(first) == 1


def never_cleared(rank: int) -> list[str]:
    model = wrap(Zoo())
    state = kimad.attach(model, CONFIG)
    optimizer = optimizer_of(model, "sgd")
    with warnings_of_kimad() as said:
        for step in range(STEPS):
            backward(model, rank, step)
            optimizer.step()
    state.close()
    return said


def test_gradients_that_are_never_cleared_are_told(two_ranks: Ranks) -> None:
    first, _ = two_ranks.run(never_cleared)
    assert len(first) == 1
    assert "zero_grad" in first[0]


def rightly(rank: int, way: str, options: dict[str, Any]) -> list[str]:
    model = wrap(Zoo(), **options)
    state = kimad.attach(model, CONFIG)
    optimizer = optimizer_of(model, "adam" if way == "zeroed by adam" else "sgd")
    with warnings_of_kimad() as said:
        for step in range(2 * STEPS):
            if way == "no_sync":
                optimizer.zero_grad()
                with model.no_sync():
                    backward(model, rank, 100 + step)
                    backward(model, rank, 200 + step)
            elif way in ("zeroed", "zeroed by adam"):
                optimizer.zero_grad(set_to_none=False)
            elif way == "cleared in between":
                loss = model(batch(rank, step)).pow(2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                continue
            elif way == "set to None":
                model.zero_grad()
            elif way == "some steps skipped":  # as GradScaler does, and then clears
                optimizer.zero_grad()
                backward(model, rank, 300 + step)
                optimizer.zero_grad()
            backward(model, rank, step)
            if way == "clipped":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            if way == "clipped":
                optimizer.zero_grad(set_to_none=step % 2 == 0)
        assert same_on_all_ranks(model)
    state.close()
    return said


@pytest.mark.parametrize("way", ["no_sync", "zeroed", "zeroed by adam", "cleared in between", "set to None",
                                 "some steps skipped", "clipped"])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"gradient_as_bucket_view": True}], ids=["", "views"])
def test_no_false_alarm(two_ranks: Ranks, way: str, options: dict[str, Any]) -> None:
    assert two_ranks.run(rightly, way, options) == [[], []]


def adversaries(rank: int, through: str, set_to_none: bool) -> list[str]:
    """A generator's step goes through its discriminator, whose gradient nobody wants then."""
    torch.manual_seed(0)
    generator = wrap(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16)))
    discriminator = wrap(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1)))
    states = [kimad.attach(generator, CONFIG), kimad.attach(discriminator, CONFIG)]
    of_g, of_d = optimizer_of(generator, "adam"), optimizer_of(discriminator, "adam")
    random = torch.Generator().manual_seed(rank)
    with warnings_of_kimad() as said:
        for _ in range(2 * STEPS):
            noise, real = torch.randn(4, 8, generator=random), torch.randn(4, 16, generator=random)
            of_d.zero_grad(set_to_none=set_to_none)
            with torch.no_grad():
                fake = generator(noise)
            judged = discriminator(torch.cat([real, fake]))
            (judged[4:].mean() - judged[:4].mean()).backward()
            of_d.step()
            of_g.zero_grad(set_to_none=set_to_none)
            judge = discriminator.module if through == "module" else discriminator
            (-judge(generator(noise)).mean()).backward()
            of_g.step()
        assert same_on_all_ranks(generator)
        assert same_on_all_ranks(discriminator)
    for state in states:
        state.close()
    return said


@pytest.mark.parametrize("through", ["module", "ddp"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_two_optimizers_are_no_accumulation(two_ranks: Ranks, through: str, set_to_none: bool) -> None:
    assert two_ranks.run(adversaries, through, set_to_none) == [[], []]


def disabled(rank: int) -> list[str]:
    model = wrap(Zoo())
    state = kimad.attach(model, CONFIG)
    state.enabled = False
    optimizer = optimizer_of(model, "sgd")
    with warnings_of_kimad() as said:
        for step in range(STEPS):
            optimizer.zero_grad()
            backward(model, rank, step)
            backward(model, rank, 10 + step)
            optimizer.step()
    state.close()
    return said


def test_plain_ddp_is_not_watched(two_ranks: Ranks) -> None:
    assert two_ranks.run(disabled) == [[], []]


def hooks_left(rank: int) -> int:
    model = wrap(Zoo())
    state = kimad.attach(model, CONFIG)
    train(model, rank, 3)
    state.close()
    return sum(len(p._backward_hooks or ()) for p in model.parameters())


def test_nothing_is_left_on_the_model(two_ranks: Ranks) -> None:
    assert two_ranks.run(hooks_left) == [0, 0]


def test_the_smallest_parameter_is_watched() -> None:
    named = [(nn.Parameter(torch.zeros(n)), Layer(f"p{i}", (n,), kind))
             for i, (n, kind) in enumerate([(5, "float32"), (0, "float32"), (2, "float16"), (3, "float32"),
                                            (3, "float32"), (9, "float32")])]  # fmt: skip
    assert smallest(named) is named[4][0]
    assert smallest(named[1:3]) is None

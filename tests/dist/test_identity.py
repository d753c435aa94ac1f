"""With the identity plan, training is bit-identical to plain DDP."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, flat, pair, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch

STEPS = 20
IDENTITY = kimad.Config(objective=kimad.Fixed("float32"))


def compare(rank: int, options: dict[str, Any], keywords: dict[str, Any]) -> None:
    plain, ours, state = pair(IDENTITY, **options)
    seen: list[torch.Tensor] = []
    train(plain, rank, STEPS, after=lambda _: seen.append(flat(plain)), **keywords)
    equal: list[bool] = []

    def check(step: int) -> None:
        equal.append(torch.equal(flat(ours).view(torch.int32), seen[step].view(torch.int32)))

    train(ours, rank, STEPS, after=check, **keywords)
    assert all(equal), equal
    assert same_on_all_ranks(ours)
    assert len(state.records) == STEPS
    assert not state.state_dict()["residual"]
    assert len(state.loop._buckets) > 1 or options.get("bucket_cap_mb") == 100, "several buckets"
    state.close()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "bucket views": ({"gradient_as_bucket_view": True}, {}),
    "accumulation": ({}, {"accumulate": True}),
    "accumulation with views": ({"gradient_as_bucket_view": True}, {"accumulate": True}),
    "unused parameter": ({"find_unused_parameters": True}, {"use_maybe": False}),
    "static graph": ({"static_graph": True}, {}),
    "one bucket": ({"bucket_cap_mb": 100}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks(two_ranks: Ranks, case: str) -> None:
    two_ranks.run(compare, *CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_three_ranks(three_ranks: Ranks, case: str) -> None:
    three_ranks.run(compare, *CASES[case])


def two_models(rank: int) -> None:
    first, second = pair(IDENTITY), pair(IDENTITY)
    for plain, ours, state in (first, second):
        for model in (plain, ours):
            train(model, rank, STEPS)
        assert torch.equal(flat(plain), flat(ours))
        state.close()


def test_two_models_in_one_process(two_ranks: Ranks) -> None:
    two_ranks.run(two_models)


def interleaved(rank: int) -> None:
    models = [wrap(Zoo()) for _ in range(2)]
    states = [kimad.attach(m, kimad.Config(objective=kimad.Fixed("topk", 0.05, "log4"))) for m in models]
    for _ in range(5):
        for model in models:
            train(model, rank, 1)
    assert all(same_on_all_ranks(m) for m in models)
    for state in states:
        state.close()


def test_two_models_take_turns(two_ranks: Ranks) -> None:
    two_ranks.run(interleaved)


def disabled(rank: int) -> None:
    plain, ours, state = pair(kimad.Config(objective=kimad.Fixed("topk", 0.01, "log4")))
    state.enabled = False
    for model in (plain, ours):
        train(model, rank, 10)
    assert torch.equal(flat(plain), flat(ours))
    state.enabled = True
    train(ours, rank, 5)
    assert same_on_all_ranks(ours)
    assert state.state_dict()["residual"]
    state.close()


def test_a_disabled_state_is_plain_ddp(two_ranks: Ranks) -> None:
    two_ranks.run(disabled)

"""Every operator in a real run of two ranks: parameters stay equal to the last bit, and the loss falls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kimad
from kimad.compressors import ALL_COMPRESSORS, Compressor
from kimad.naming import option_form
from tests.dist.ranks import Ranks
from tests.dist.training import same_on_all_ranks, wrap

STEPS = 120
VALUES = {"DENSITY": "0.1", "LEVELS": "7", "RANK": "2", "TAU": "1e-4"}  # of each field of an option's form
NEVER_LEARNS = ("drop",)


def typed(operator: Compressor) -> str:
    """An option of this operator as a user types it."""
    name, *fields = option_form(operator).split(":")
    return ":".join([name, *(VALUES.get(field, operator.value_codes[0]) for field in fields)])


def learn(rank: int, option: str) -> None:
    """A regression on what a fixed network answers; each rank has examples of its own."""
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 6))
    model = wrap(nn.Sequential(nn.Linear(24, 64), nn.Tanh(), nn.Linear(64, 6)))
    state = kimad.attach(model, kimad.Config(objective=kimad.parse_objective(f"fixed:{option}")))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(100 + rank)
    losses: list[float] = []
    for _ in range(STEPS):
        examples = torch.randn(64, 24)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(examples), teacher(examples).detach())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        assert same_on_all_ranks(model), len(losses)
    assert all(record.layers[0].codec.startswith(option.split(":")[0]) for record in state.records)
    state.close()
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < (1.5 if option in NEVER_LEARNS else 0.6) * first, (first, last)


@pytest.mark.parametrize("operator", ALL_COMPRESSORS, ids=lambda operator: str(operator.name))
def test_every_operator_trains(two_ranks: Ranks, operator: Compressor) -> None:
    two_ranks.run(learn, typed(operator))


@pytest.mark.parametrize("option", ["qsgd:1", "topk:0.1:sign", "randomk:0.1:int8", "lowrank:1:bfloat16"])
def test_coarse_options_train_too(two_ranks: Ranks, option: str) -> None:
    two_ranks.run(learn, option)

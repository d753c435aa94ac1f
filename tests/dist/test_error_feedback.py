"""Every kind of error feedback in a real run of two ranks."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.config import ERROR_FEEDBACKS
from tests.dist.ranks import Ranks
from tests.dist.training import flat, same_on_all_ranks, wrap

STEPS = 120
OTHERS = [kind for kind in ERROR_FEEDBACKS if kind != "ef14"]


def student() -> DistributedDataParallel:
    torch.manual_seed(2)
    return wrap(nn.Sequential(nn.Linear(24, 64), nn.Tanh(), nn.Linear(64, 6)))


def attach(model: DistributedDataParallel, kind: str, objective: str) -> tuple[kimad.State, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5 if kind == "dgc" else 0.0)
    config = kimad.Config(objective=kimad.parse_objective(objective), error_feedback=kind)
    return kimad.attach(model, config, optimizer=optimizer), optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, steps: range, bad: int = -1) -> list[float]:
    """A regression on what a fixed network answers; each rank has examples of its own. bad: a step with a NaN."""
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 6))
    losses: list[float] = []
    for step in steps:
        examples = torch.randn(64, 24, generator=torch.Generator().manual_seed(100 * step + rank))
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(examples), teacher(examples).detach())
        (loss * (float("nan") if step == bad and rank == 1 else 1.0)).backward()  # type: ignore[no-untyped-call]
        if step == bad:
            assert all(bool(p.grad.isnan().any()) for p in model.parameters() if p.grad is not None)
        else:
            optimizer.step()
        losses.append(loss.item())
    return losses


def learn(rank: int, kind: str, objective: str) -> None:
    model = student()
    state, optimizer = attach(model, kind, objective)
    losses = train(model, optimizer, rank, range(STEPS), bad=20)
    assert same_on_all_ranks(model)
    assert bool(flat(model).isfinite().all())
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < 0.6 * first, (first, last)
    state.close()


@pytest.mark.parametrize("objective", ["fixed:topk:0.1", "fixed:int8", "fixed:bfloat16", "progress"])
@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_trains_and_survives_a_nan(two_ranks: Ranks, kind: str, objective: str) -> None:
    two_ranks.run(learn, kind, objective)


def compare_with_plain(rank: int, kind: str) -> None:
    ours, plain = student(), student()
    state, optimizer = attach(ours, kind, "fixed:float32")
    momentum = 0.5 if kind == "dgc" else 0.0
    train(ours, optimizer, rank, range(10))
    train(plain, torch.optim.SGD(plain.parameters(), lr=0.05, momentum=momentum), rank, range(10))
    assert torch.allclose(flat(ours), flat(plain), atol=1e-6)
    state.close()
    assert optimizer.param_groups[0]["momentum"] == momentum


@pytest.mark.parametrize("kind", ["ef14", "ef21", "dgc"])
def test_where_everything_is_sent_it_is_plain_ddp(two_ranks: Ranks, kind: str) -> None:
    two_ranks.run(compare_with_plain, kind)


def estimates_agree(rank: int, objective: str) -> None:
    """What all ranks take for the mean of the estimates is that mean."""
    model = student()
    state, optimizer = attach(model, "ef21", objective)
    train(model, optimizer, rank, range(30), bad=7)
    saved = state.state_dict()
    for name, average in saved["average"].items():
        mean = saved["estimate"][name].clone()
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
        assert torch.allclose(average, mean, atol=1e-6 + 1e-2 * float(mean.abs().max()) * (objective != "fixed:topk:0.1"))
        mine = [torch.empty_like(average) for _ in range(dist.get_world_size())]
        dist.all_gather(mine, average)
        assert all(torch.equal(average, other) for other in mine)
    assert saved["average"]
    state.close()


@pytest.mark.parametrize("objective", ["fixed:topk:0.1", "fixed:bfloat16"])
def test_ef21s_average_is_that_of_the_estimates(two_ranks: Ranks, objective: str) -> None:
    two_ranks.run(estimates_agree, objective)


def resume(rank: int, kind: str) -> None:
    model = student()
    state, optimizer = attach(model, kind, "fixed:topk:0.1")
    train(model, optimizer, rank, range(10))
    file = io.BytesIO()
    torch.save({"kimad": state.state_dict(), "model": model.module.state_dict()}, file)
    train(model, optimizer, rank, range(10, 20))
    state.close()
    file.seek(0)
    saved: dict[str, Any] = torch.load(file, weights_only=True)
    again = student()
    again.module.load_state_dict(saved["model"])
    state, optimizer = attach(again, kind, "fixed:topk:0.1")
    state.load_state_dict(copy.deepcopy(saved["kimad"]))
    train(again, optimizer, rank, range(10, 20))
    assert torch.equal(flat(again), flat(model))
    other = "ef14" if kind != "ef14" else "ef21"
    with pytest.raises(kimad.ConfigError, match=f"is of error_feedback '{kind}', and this State has '{other}'"):
        kimad.State(kimad.Config(error_feedback=other)).load_state_dict(saved["kimad"])
    state.close()


@pytest.mark.parametrize("kind", ERROR_FEEDBACKS)
def test_a_fixed_plan_resumes_bit_for_bit(two_ranks: Ranks, kind: str) -> None:
    two_ranks.run(resume, kind)


def without_optimizer(rank: int) -> None:
    with pytest.raises(kimad.AttachError, match=r"no optimizer was given: attach\(model, config, optimizer=optimizer\)"):
        kimad.attach(student(), kimad.Config(error_feedback="dgc"))


def test_dgc_needs_the_optimizer(two_ranks: Ranks) -> None:
    two_ranks.run(without_optimizer)

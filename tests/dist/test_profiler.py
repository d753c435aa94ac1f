"""The profiler inside a training loop: what it writes down, and that training goes on to the last bit as without it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from examples.resnet.model import ResNet18
from kimad.launch import profiler
from kimad.launch.profiler import SETTLING_STEPS, Profiler, obstacle
from kimad.launch.trial import OPTIONS
from kimad.sim import Workload
from kimad.sim.models import MODELS
from tests.dist.ranks import Ranks
from tests.dist.test_parameters import Mixed, parameters_of, words
from tests.dist.training import wrap

pytestmark = pytest.mark.torch

STEPS = 6
ALL_STEPS = profiler.ALL_STEPS + STEPS


def train(model: DistributedDataParallel, rank: int, steps: int, infinite_at: int = -1) -> int:
    """Gradient descent; a step whose gradient is not finite changes nothing. Returns how many steps were done."""
    for step in range(steps):
        model.zero_grad()
        try:
            outputs = model(words(rank, step))
        except SystemExit:
            return step
        (outputs.pow(2).mean() * (float("inf") if step == infinite_at else 1.0)).backward()
        with torch.no_grad():
            gradients = [
                p.grad.to_dense() if p.grad.is_sparse else p.grad for p in model.parameters() if p.grad is not None
            ]
            if all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.add_(gradient, alpha=-0.1)
    return steps


def profiled(rank: int, sparse: bool, out: Path) -> list[Tensor]:
    plain, ours = wrap(Mixed(sparse)), wrap(Mixed(sparse))
    Profiler(ours, STEPS, out)
    assert train(ours, rank, ALL_STEPS + 5, infinite_at=SETTLING_STEPS + 1) == ALL_STEPS
    train(plain, rank, ALL_STEPS, infinite_at=SETTLING_STEPS + 1)
    for mine, theirs in zip(parameters_of(ours), parameters_of(plain), strict=True):
        assert torch.equal(mine, theirs)
    return parameters_of(ours)


@pytest.mark.parametrize("sparse", [False, True])
def test_training_is_that_of_plain_ddp(two_ranks: Ranks, tmp_path: Path, sparse: bool) -> None:
    first, second = two_ranks.run(profiled, sparse, tmp_path / "workload.npz")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    workload = Workload.load(tmp_path / "workload.npz")
    assert workload.ready_s.shape == (STEPS, 2, len(workload.buckets))
    assert {layer.dtype for layer in workload.layers} == {"float32", "bfloat16", "float64", *["sparse"] * sparse}
    assert set(workload.coding) == {option.partition(":")[0] for option in OPTIONS}
    assert all(samples.shape[0] == STEPS for samples in workload.gradients)  # none is of the step that was not finite
    assert all(
        samples.any() != (layer.dtype == "sparse")
        for layer, samples in zip(workload.layers, workload.gradients, strict=True)
    )


@final
class WithNothing(nn.Module):
    """A linear layer, and a parameter without entries."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(40, 3)
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y + self.empty.sum()


def samples_of(rank: int, out: Path) -> None:
    model = wrap(WithNothing())
    Profiler(model, 4, out)
    for step in itertools.count():
        model.zero_grad()
        try:
            outputs = model(torch.full((2, 40), float(rank + step)))
        except SystemExit:
            break
        outputs.sum().backward()


def test_samples_are_this_ranks_gradient_before_it_is_averaged(two_ranks: Ranks, tmp_path: Path) -> None:
    two_ranks.run(samples_of, tmp_path / "workload.npz")
    workload = Workload.load(tmp_path / "workload.npz")
    assert [layer.name for layer in workload.layers] == ["linear.weight", "linear.bias"]
    weight, bias = workload.gradients
    for i in range(4):  # d sum / d weight = 2 x input, which is rank + step; rank 0's is kept
        assert np.array_equal(weight[i], np.full(120, 2.0 * (SETTLING_STEPS + i), np.float32))
    assert np.array_equal(bias, np.full((4, 3), 2.0, np.float32))


def buckets_of_resnet18(rank: int) -> list[list[str]]:
    model = DistributedDataParallel(ResNet18())
    names = {id(p): name for name, p in model.module.named_parameters()}
    steps: list[list[list[str]]] = []

    def hook(state: object, bucket):  # type: ignore[no-untyped-def]
        if bucket.index() == 0:
            steps.append([])
        steps[-1].append([names[id(p)] for p in bucket.parameters()])
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    model.register_comm_hook(None, hook)
    for _ in range(SETTLING_STEPS):
        model(torch.zeros(2, 3, 12, 12)).sum().backward()
    return steps[-1]


def test_the_built_in_resnet18_has_the_buckets_of_ddp(two_ranks: Ranks) -> None:
    real = two_ranks.run(buckets_of_resnet18)[0]
    workload = MODELS["resnet18"]().workload("resnet18")
    made_up = [[workload.layers[i].name for i in bucket] for bucket in workload.buckets]
    assert [sorted(bucket) for bucket in made_up] == [sorted(bucket) for bucket in real]


def refused(rank: int) -> list[str | None]:
    free, taken = wrap(nn.Linear(4, 4)), wrap(nn.Linear(4, 4))
    taken.register_comm_hook(None, lambda state, bucket: None)
    return [obstacle(free), obstacle(taken)]


def test_a_model_with_a_hook_of_its_own_is_not_profiled(two_ranks: Ranks) -> None:
    for free, taken in two_ranks.run(refused):
        assert free is None
        assert taken is not None
        assert "on this model" in taken

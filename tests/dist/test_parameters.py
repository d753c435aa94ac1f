"""Every kind of parameter: mixed types, sparse gradients, gradients that are not contiguous."""

from __future__ import annotations

import copy
from typing import Any, cast, final

import pytest
import torch
from torch import Tensor, nn

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import flat, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch


@final
class Mixed(nn.Module):
    """Three kinds of floating point, and a sparse gradient, beside each other."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(500, 40, sparse=sparse)
        self.usual = nn.Linear(40, 100)
        self.narrow = nn.Linear(100, 60, dtype=torch.bfloat16)
        self.wide = nn.Linear(60, 50, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        h = self.usual(self.words(x).mean(1)).relu()
        y: Tensor = self.wide(self.narrow(h.bfloat16()).double())
        return y


def words(rank: int, step: int) -> Tensor:
    return torch.randint(500, (4, 6), generator=torch.Generator().manual_seed(1000 * step + rank))


def parameters_of(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def mixed(rank: int, sparse: bool, objective: str) -> None:
    plain, ours = wrap(Mixed(sparse)), wrap(Mixed(sparse))
    state = kimad.attach(ours, kimad.Config(kimad.parse_objective(objective), cold_start_bytes=30_000))
    for model in (plain, ours):
        for step in range(8):
            model.zero_grad()
            model(words(rank, step)).pow(2).mean().backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p.add_(p.grad.to_dense() if p.grad.is_sparse else p.grad, alpha=-0.1)
    for mine, theirs in zip(parameters_of(ours), parameters_of(plain), strict=True):
        everyone = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(everyone, mine)
        assert all(torch.equal(mine, other) for other in everyone)
        if objective == "fixed:float32":
            assert torch.equal(mine, theirs)
    owing = set(state.state_dict()["residual"])
    assert owing <= {"words.weight", "usual.weight", "usual.bias"} - ({"words.weight"} if sparse else set())
    if objective != "progress":  # what that leaves out depends on the machine
        assert ("usual.weight" in owing) == objective.startswith("fixed:topk")
    codecs = {layer.name: layer.codec for layer in state.records[-1].layers}
    assert codecs["narrow.weight"] == "bfloat16"
    assert codecs["wide.bias"] == "float64"
    assert (codecs["words.weight"] == "sparse") == sparse
    state.close()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("objective", ["fixed:float32", "fixed:topk:0.05", "error-bound:1e-12", "progress"])
def test_mixed_types_and_sparse_gradients(two_ranks: Ranks, three_ranks: Ranks, sparse: bool, objective: str) -> None:
    two_ranks.run(mixed, sparse, objective)
    three_ranks.run(mixed, sparse, objective)


def nan_in_a_plain_layer(rank: int, layer: str) -> None:
    """A layer that is never compressed voids the step as any other does: nothing that was owed is lost."""
    model = wrap(Mixed(sparse=layer == "words"))
    state = kimad.attach(model, kimad.Config(kimad.Fixed("topk", 0.05, "log4")))
    for step in range(4):
        model.zero_grad()
        if step == 3:
            before = state.state_dict()["residual"]["usual.bias"]
            weight = model.module.get_submodule(layer).weight
            assert isinstance(weight, Tensor)
            if rank == 1:
                cast(Any, weight).register_hook(lambda g: g * float("nan"))
        model(words(rank, step)).pow(2).mean().backward()
    assert [record.void for record in state.records] == [False, False, False, True]
    assert weight.grad is not None
    values = weight.grad.coalesce().values() if layer == "words" else weight.grad
    assert not torch.isfinite(values).all()
    after = state.state_dict()["residual"]["usual.bias"]
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after), "this step's gradient is owed in full"
    state.close()


@pytest.mark.parametrize("layer", ["narrow", "wide", "words"])
def test_a_nan_in_a_layer_that_is_never_compressed(two_ranks: Ranks, layer: str) -> None:
    two_ranks.run(nan_in_a_plain_layer, layer)


def channels_last(rank: int, views: bool) -> None:
    """Gradients that are not contiguous: a residual lies in the order of memory."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(512, 10))
    models = []
    for config in (None, kimad.Config(kimad.Fixed("topk", 1.0, "float32")), kimad.Config(kimad.Fixed("int8"))):
        net = copy.deepcopy(base).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = wrap(net, gradient_as_bucket_view=views)
        state = kimad.attach(model, config) if config is not None else None
        train(model, rank, 5)
        assert same_on_all_ranks(model)
        models.append(model)
        if state is not None:
            state.close()
    assert not models[1].module[2].weight.is_contiguous()
    plain, whole, coarse = (flat(m) for m in models)
    assert torch.allclose(plain, whole, rtol=1e-5, atol=1e-7)  # at density 1 only the order of the sum may differ
    assert not torch.equal(whole, coarse)
    assert torch.allclose(whole, coarse, atol=0.02)


@pytest.mark.parametrize("views", [False, True])
def test_channels_last(two_ranks: Ranks, views: bool) -> None:
    two_ranks.run(channels_last, views)

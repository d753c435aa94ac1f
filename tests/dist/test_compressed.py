"""Compressing plans: ranks agree bit for bit, nothing is lost, and the bytes are those of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import kimad
from kimad.coder import Bucket, Sending
from kimad.compressors import Batch, decode
from kimad.error_feedback import EF14
from kimad.plan import Plan
from kimad.statistics import StepLog
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch

STEPS = 100
OBJECTIVES = ["progress", "step-time:0.01", "overlap:0.1", "error-bound:0.1", "fixed:topk:0.02", "fixed:topk:0.02:int8",
              "fixed:int8", "fixed:bf16"]  # fmt: skip


def agree(rank: int, objective: str, options: dict[str, Any]) -> None:
    model = wrap(Zoo(), **options)
    config = kimad.Config(objective=kimad.parse_objective(objective), cold_start_bytes=20_000)
    state = kimad.attach(model, config)
    equal: list[bool] = []
    train(model, rank, STEPS, after=lambda _: equal.append(same_on_all_ranks(model)))
    assert all(equal), equal.index(False)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    state.close()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_ranks_agree_after_each_of_100_steps(two_ranks: Ranks, objective: str) -> None:
    two_ranks.run(agree, objective, {})


@pytest.mark.parametrize("objective", ["progress", "fixed:topk:0.02", "fixed:bf16"])
def test_three_ranks_agree(three_ranks: Ranks, objective: str) -> None:
    three_ranks.run(agree, objective, {"gradient_as_bucket_view": True})


@pytest.mark.parametrize("objective", ["progress", "fixed:topk:0.02"])
def test_four_ranks_agree(four_ranks: Ranks, objective: str) -> None:
    four_ranks.run(agree, objective, {})


def law(rank: int, option: str) -> None:
    """Watches every bucket: what the residual held, the gradient, what was sent."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(objective=kimad.parse_objective(option)))
    residual, errors = state.loop.feedback, []
    assert isinstance(residual, EF14)
    encode = residual.encode

    def watched(
        names: Sequence[str], gradients: Sequence[torch.Tensor], batch: Batch, out: torch.Tensor, **how: Any
    ) -> None:
        owed = [residual.owed(name) for name in names]
        expected = [g.double() + (0 if o is None else o.double()) for g, o in zip(gradients, owed, strict=True)]
        encode(names, gradients, batch, out, **how)
        for i, (name, wanted) in enumerate(zip(names, expected, strict=True)):
            decoded = torch.zeros_like(wanted, dtype=torch.float32)
            decode(batch.part(out, i), decoded)
            left = residual.owed(name)
            assert left is not None
            if decoded.numel():
                off = (left.double() + decoded.double() - wanted).abs().max()
                errors.append(float(off) / (float(wanted.abs().max()) + 1e-30))

    residual.encode = watched  # type: ignore[method-assign]
    train(model, rank, 10)
    state.close()
    assert len(errors) >= 10
    assert max(errors) < 2e-7, max(errors)


@pytest.mark.parametrize("option", ["fixed:topk:0.05", "fixed:topk:0.05:int8", "fixed:int8", "fixed:bf16"])
def test_residual_plus_decoded_is_residual_plus_gradient(two_ranks: Ranks, option: str) -> None:
    two_ranks.run(law, option)


def rebuilt(rank: int, options: dict[str, Any]) -> None:
    """Buckets change after the first step (after the second with static_graph): residuals stay with their layers."""
    model = wrap(Zoo(), **options)
    state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.01, "log4")))
    layouts: list[tuple[str, ...]] = []
    encode = state.loop._coder.encode

    def watched(bucket: Bucket, plan: Plan, log: StepLog, read_curves: bool) -> Sending:
        while len(layouts) <= bucket.step:
            layouts.append(())
        layouts[bucket.step] += ("|", *(slot.layer.name for slot in bucket.slots))
        return encode(bucket, plan, log, read_curves)

    state.loop._coder.encode = watched  # type: ignore[method-assign]
    norms = []
    train(model, rank, 5, after=lambda _: norms.append(dict.fromkeys(state.state_dict()["residual"], 0)))
    names = {name for name, p in model.module.named_parameters() if p.requires_grad}
    assert layouts[0] != layouts[-1], "DDP rebuilds its buckets"
    assert set(norms[0]) == set(norms[-1])
    assert set(norms[-1]) <= names
    assert same_on_all_ranks(model)
    state.close()


@pytest.mark.parametrize("options", [{}, {"static_graph": True}])
def test_residuals_survive_the_rebuild_of_buckets(two_ranks: Ranks, options: dict[str, Any]) -> None:
    two_ranks.run(rebuilt, options)


def unused(rank: int, set_to_none: bool, views: bool) -> None:
    """A layer that no rank uses keeps its residual: DDP throws its result away."""
    model = wrap(Zoo(), find_unused_parameters=True, gradient_as_bucket_view=views)
    state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.01, "log4")))
    train(model, rank, 3)
    before = state.state_dict()["residual"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=set_to_none)
        model(torch.randn(4, 3, 8, 8), use_maybe=False).sum().backward()
        optimizer.step()
    after = state.state_dict()["residual"]
    for name in ("maybe.weight", "maybe.bias"):
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["wide.weight"], after["wide.weight"])
    # Used on one rank alone: the other rank's residual is delivered as well.
    model.zero_grad()
    model(torch.randn(4, 3, 8, 8), use_maybe=rank == 0).sum().backward()
    assert not torch.equal(after["maybe.weight"], state.state_dict()["residual"]["maybe.weight"])
    state.close()


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_an_unused_layer_keeps_its_residual(two_ranks: Ranks, set_to_none: bool, views: bool) -> None:
    two_ranks.run(unused, set_to_none, views)


def nan_step(rank: int, objective: str, where: str) -> None:
    """A NaN on rank 1: every rank sees it, no residual does, and what was owed is owed still."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(objective=kimad.parse_objective(objective)))
    train(model, rank, 3)
    before = state.state_dict()["residual"]
    gradients: dict[str, torch.Tensor] = {}
    names = {p: n for n, p in model.module.named_parameters()}
    handles = []
    for parameter, name in names.items():
        if parameter.requires_grad:

            def spoil(g: torch.Tensor, name: str = name) -> torch.Tensor:
                gradients[name] = gradients.get(name, torch.zeros_like(g)) + g
                return g * float("nan") if rank == 1 and name == where else g

            handles.append(parameter.register_hook(spoil))
    model.zero_grad()
    model(torch.randn(4, 3, 8, 8)).pow(2).mean().backward()
    for handle in handles:
        handle.remove()
    assert any(not torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    record = state.records[-1]
    assert record.void
    after = state.state_dict()["residual"]
    assert all(torch.isfinite(e).all() for e in after.values())
    spoilt_bucket = set()
    for bucket in state.loop._buckets:
        members = {slot.layer.name for slot in bucket.slots}
        if where in members:
            spoilt_bucket = members
    for name, old in before.items():
        if rank == 1 and name in spoilt_bucket:
            assert torch.equal(after[name], old), name
        else:
            wanted = old + gradients[name].reshape(-1)
            assert torch.allclose(after[name], wanted, rtol=1e-5, atol=1e-7), name
    for parameter in model.parameters():
        parameter.grad = None
    train(model, rank, 3)
    assert same_on_all_ranks(model)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not state.records[-1].void
    state.close()


@pytest.mark.parametrize("objective", ["fixed:topk:0.02", "fixed:int8", "fixed:bf16"])
def test_a_nan_voids_the_step_and_spares_the_residual(two_ranks: Ranks, objective: str) -> None:
    two_ranks.run(nan_step, objective, "wide.weight")


def dense_nan(rank: int) -> None:
    """A layer sent whole in a void step keeps what it owed."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.02, "log4")))
    train(model, rank, 3)
    before = state.state_dict()["residual"]
    loop = state.loop
    loop.plan = Plan(loop.plan.step, dict.fromkeys(loop.plan.options, kimad.plan.FLOAT32))
    model.zero_grad()
    loss = model(torch.randn(4, 3, 8, 8)).pow(2).mean()
    (loss * float("nan") if rank == 0 else loss).backward()
    after = state.state_dict()["residual"]
    assert set(before) == set(after)
    assert all(torch.equal(before[n], after[n]) for n in before)
    model.zero_grad()
    model(torch.randn(4, 3, 8, 8)).pow(2).mean().backward()
    assert not state.state_dict()["residual"], "a dense step pays everything back"
    state.close()


def test_a_dense_layer_keeps_its_residual_in_a_void_step(two_ranks: Ranks) -> None:
    two_ranks.run(dense_nan)


def exact_mean(rank: int) -> None:
    """The exchange itself: all ranks decode the mean of what was sent, in rank order."""
    torch.manual_seed(rank)
    ddp = wrap(nn.Linear(50, 40))
    state = kimad.attach(ddp, kimad.Config(objective=kimad.Fixed("topk", 1.0, "float32")))
    x = torch.randn(8, 50)
    ddp(x).pow(2).mean().backward()
    mine = torch.cat([p.grad.reshape(-1) for p in ddp.parameters() if p.grad is not None])
    assert state.records[-1].residual_norm == 0.0
    plain = wrap(nn.Linear(50, 40))
    plain.load_state_dict(ddp.state_dict())
    plain(x).pow(2).mean().backward()
    theirs = torch.cat([p.grad.reshape(-1) for p in plain.parameters() if p.grad is not None])
    assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-8)
    state.close()


def test_at_density_1_the_result_is_the_mean(two_ranks: Ranks, three_ranks: Ranks) -> None:
    two_ranks.run(exact_mean)
    three_ranks.run(exact_mean)


def uneven(rank: int) -> None:
    """With `join`, a rank that has run out of data answers the others' steps with zeros."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.05, "log4")))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with model.join():
        for _ in range(3 + 2 * rank):
            optimizer.zero_grad()
            model(torch.randn(4, 3, 8, 8)).pow(2).mean().backward()
            optimizer.step()
    assert len(state.records) == 5
    state.close()


def test_join_with_uneven_data(two_ranks: Ranks) -> None:
    two_ranks.run(uneven)

"""DGC: residual_new + decoded = residual_old + velocity; at density 1 it is momentum SGD."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kimad.compressors import Batch, Option, decode, wire_bytes
from kimad.error_feedback import DGC
from kimad.errors import AttachError
from kimad.momentum import TakenMomentum

N, MOMENTUM = 700, 0.9


def gradient(seed: int) -> Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(seed))


def send(feedback: DGC, seed: int, option: Option) -> Tensor:
    """One layer of one step; returns what the frame carries."""
    frame = torch.empty(wire_bytes((N,), option), dtype=torch.uint8)
    feedback.encode(["w"], [gradient(seed)], Batch([(N,)], [option]), frame, keys=[seed])
    decoded = torch.zeros(N)
    decode(frame, decoded)
    return decoded


def memory(feedback: DGC, kind: str) -> Tensor:
    found: Tensor = feedback.state_dict()[kind]["w"]
    return found


def test_what_is_not_sent_is_remembered_with_its_momentum() -> None:
    feedback, option = DGC(MOMENTUM), Option("topk", 31, "float32")
    residual = velocity = torch.zeros(N)
    for step in range(5):
        decoded = send(feedback, step, option)
        velocity = MOMENTUM * velocity + gradient(step)
        residual = (residual + velocity) - decoded
        feedback.end_step(set())
        velocity = torch.where(decoded != 0, 0.0, velocity)
        assert torch.allclose(memory(feedback, "residual"), residual, atol=1e-5)
        assert torch.allclose(memory(feedback, "velocity"), velocity, atol=1e-5)
        assert int((velocity == 0).sum()) == 31


@pytest.mark.parametrize("undo", [None, {"w"}], ids=["void", "unused"])
def test_a_step_that_does_not_count_is_owed_and_masks_nothing(undo: set[str] | None) -> None:
    feedback, option = DGC(MOMENTUM), Option("topk", 31, "float32")
    send(feedback, 0, option)
    feedback.end_step(undo)
    assert torch.equal(memory(feedback, "residual"), gradient(0))
    assert torch.equal(memory(feedback, "velocity"), gradient(0))


@pytest.mark.parametrize("option", [Option("float32"), Option("topk", N, "float32")], ids=str)
def test_at_density_1_it_is_momentum_sgd(option: Option) -> None:
    feedback = DGC(MOMENTUM)
    ours, theirs = torch.zeros(N), nn.Parameter(torch.zeros(N))
    optimizer = torch.optim.SGD([theirs], lr=0.1, momentum=MOMENTUM)
    for step in range(10):
        if step % 2:
            ours -= 0.1 * send(feedback, step, option)
        else:
            feedback.flush("w", sent := gradient(step))
            ours -= 0.1 * sent
        feedback.end_step(set())
        theirs.grad = gradient(step)
        optimizer.step()
        assert torch.allclose(ours, theirs.detach(), atol=1e-5)


def test_it_goes_on_where_it_was_saved() -> None:
    one, option = DGC(MOMENTUM), Option("topk", 31, "log4")
    for step in range(3):
        send(one, step, option)
        one.end_step(set())
    other = DGC(MOMENTUM)
    other.load_state_dict(one.state_dict())
    assert torch.equal(send(one, 7, option), send(other, 7, option))
    for feedback in (one, other):
        feedback.end_step(set())
    assert torch.equal(memory(one, "velocity"), memory(other, "velocity"))


def test_the_optimizers_momentum_is_taken_and_given_back() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=MOMENTUM)
    taken = TakenMomentum(optimizer, list(model.parameters()))
    assert (taken.momentum, optimizer.param_groups[0]["momentum"]) == (MOMENTUM, 0.0)
    taken.give_back()
    assert optimizer.param_groups[0]["momentum"] == MOMENTUM


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda m: None, "no optimizer was given"),
        (lambda m: torch.optim.Adam(m.parameters()), "this optimizer is Adam"),
        (lambda m: torch.optim.SGD([m.weight], lr=0.1), "does not hold 1 of the model's parameters"),
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True), "nesterov is True"),
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4), "weight_decay is 0.0001"),
        (lambda m: torch.optim.SGD(
            [{"params": [m.weight], "momentum": 0.5}, {"params": m.bias}], lr=0.1, momentum=0.9
        ), r"\[0.5, 0.9\]; it must be one"),
    ],
)  # fmt: skip
def test_other_momentum_is_refused_and_left_alone(make: Any, what: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = make(model)
    before = [group.get("momentum") for group in optimizer.param_groups] if optimizer is not None else []
    with pytest.raises(AttachError, match=what):
        TakenMomentum(optimizer, list(model.parameters()))
    assert not before or [group.get("momentum") for group in optimizer.param_groups] == before

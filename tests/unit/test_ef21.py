"""EF21: u_new = u_old + decoded, on every rank and in the mean; also when a step is taken back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import Batch, Option, damping, decode, wire_bytes
from kimad.error_feedback import EF21

N, RANKS = 700, 2
OPTIONS = [
    Option("topk", 31, "float32"), Option("topk", 31, "log4"), Option("drop"), Option("int8"),
    Option("randomk", 50, "log4"),
]  # fmt: skip


def gradient(seed: int) -> Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(seed))


def memory(feedback: EF21, kind: str) -> Tensor:
    found = feedback.state_dict()[kind].get("w")
    return torch.zeros(N) if found is None else found


def exchange(
    ranks: Sequence[EF21], gradients: Sequence[Tensor], option: Option, *, whole: bool = False
) -> list[Tensor]:
    """One layer of one step on all ranks, as the coder does it. Returns each rank's gradient for its optimizer."""
    frames = [torch.empty(wire_bytes((N,), option), dtype=torch.uint8) for _ in ranks]
    for rank, feedback in enumerate(ranks):
        batch = Batch([(N,)], [option])
        feedback.encode(["w"], [gradients[rank].clone()], batch, frames[rank], keys=[rank], whole=whole)
    scale = 1.0 if whole else damping((N,), option)
    averages = []
    for feedback in ranks:
        average = torch.zeros(N)
        for frame in frames:
            decode(frame, average, scale / len(ranks))
        feedback.arrived("w", average, whole=whole)
        averages.append(average)
    return averages


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_estimates_move_by_what_was_decoded(option: Option) -> None:
    ranks = [EF21() for _ in range(RANKS)]
    for step in range(5):
        own = [memory(feedback, "estimate") for feedback in ranks]
        gradients = [gradient(10 * step + rank) for rank in range(RANKS)]
        averages = exchange(ranks, gradients, option)
        for feedback in ranks:
            feedback.end_step(set())
        for rank, feedback in enumerate(ranks):
            frame = torch.empty(wire_bytes((N,), option), dtype=torch.uint8)
            Batch([(N,)], [option]).encode([gradients[rank] - own[rank]], frame, keys=[rank])
            expected = own[rank].clone()
            decode(frame, expected, damping((N,), option))
            assert torch.equal(memory(feedback, "estimate"), expected)
        mean = torch.stack([memory(feedback, "estimate") for feedback in ranks]).mean(dim=0)
        assert all(torch.equal(average, averages[0]) for average in averages)
        assert torch.allclose(averages[0], mean, atol=1e-6)
        assert torch.equal(memory(ranks[0], "average"), averages[0])


def test_a_constant_gradient_is_learned_and_then_nothing_is_left() -> None:
    ranks = [EF21() for _ in range(RANKS)]
    gradients = [gradient(rank) for rank in range(RANKS)]
    for _ in range(-(-N // 31)):
        averages = exchange(ranks, gradients, Option("topk", 31, "float32"))
        for feedback in ranks:
            feedback.end_step(set())
    assert torch.allclose(averages[0], torch.stack(gradients).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("undo", [None, {"w"}], ids=["void", "unused"])
def test_a_step_that_does_not_count_changes_no_estimate(undo: set[str] | None, whole: bool) -> None:
    ranks = [EF21() for _ in range(RANKS)]
    option = Option("bfloat16") if whole else Option("topk", 31, "float32")
    exchange(ranks, [gradient(0), gradient(1)], Option("int8"))
    for feedback in ranks:
        feedback.end_step(set())
    before = [(memory(feedback, "estimate"), memory(feedback, "average")) for feedback in ranks]
    exchange(ranks, [gradient(2), gradient(3)], option, whole=whole)
    for feedback, (own, average) in zip(ranks, before, strict=True):
        feedback.end_step(undo)
        assert torch.allclose(memory(feedback, "estimate"), own, atol=1e-6)
        assert torch.equal(memory(feedback, "average"), average)


def test_a_layer_that_is_sent_whole_is_known_exactly() -> None:
    ranks = [EF21() for _ in range(RANKS)]
    exchange(ranks, [gradient(0), gradient(1)], Option("topk", 31, "log4"))
    for feedback in ranks:
        feedback.end_step(set())
    gradients = [gradient(2), gradient(3)]
    mean = torch.stack(gradients).mean(dim=0)
    for feedback, own in zip(ranks, gradients, strict=True):
        sent = own.clone()
        feedback.flush("w", sent)
        assert torch.equal(sent, own)
        feedback.arrived("w", average := mean.clone(), whole=True)
        feedback.end_step(set())
        assert torch.equal(average, mean)
        assert torch.equal(memory(feedback, "estimate"), own)
        assert torch.equal(memory(feedback, "average"), mean)


def test_momentum_smooths_the_gradient_first() -> None:
    feedback, smooth = EF21(0.1), gradient(0)
    for step in range(4):
        smooth = smooth + 0.1 * (gradient(step) - smooth)
        sent = gradient(step)
        feedback.flush("w", sent)
        assert torch.allclose(sent, smooth, atol=1e-6)
        feedback.arrived("w", sent, whole=True)
        feedback.end_step(set())


def test_it_goes_on_where_it_was_saved() -> None:
    one, option = [EF21(0.1), EF21(0.1)], Option("topk", 31, "log4")
    for step in range(3):
        exchange(one, [gradient(step), gradient(9 + step)], option)
        for feedback in one:
            feedback.end_step(set())
    other = [EF21(0.1), EF21(0.1)]
    for old, new in zip(one, other, strict=True):
        new.load_state_dict(old.state_dict())
    for ranks in (one, other):
        averages = exchange(ranks, [gradient(7), gradient(8)], option)
        for feedback in ranks:
            feedback.end_step(set())
        np.testing.assert_array_equal(averages[0].numpy(), memory(ranks[0], "average").numpy())
    assert torch.equal(memory(one[0], "estimate"), memory(other[0], "estimate"))
    assert torch.equal(memory(one[0], "average"), memory(other[0], "average"))

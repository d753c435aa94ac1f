"""Plans in which some ranks send less: message, digests, modes, and what each rank's frames come to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kimad import AgreementError
from kimad.coder import Bucket, Coder, Sending
from kimad.compressors import CodecError, Option
from kimad.error_feedback import EF14
from kimad.errors import ExchangeError
from kimad.layout import Layer, pack
from kimad.plan import BFLOAT16, FLOAT32, HEAD, Plan
from kimad.record import layer_records
from kimad.statistics import StepLog

LAYERS = [Layer("a.weight", (40, 50)), Layer("a.bias", (40,)), Layer("b.weight", (30, 40)), Layer("b.bias", (30,))]
NAMES = [layer.name for layer in LAYERS]
COMMON = [Option("int8"), BFLOAT16, Option("topk", 300, "log4"), FLOAT32]
SMALL = [Option("topk", 20, "log4"), Option("drop"), Option("topk", 9, "int8"), FLOAT32]
PLAN = Plan(5, dict(zip(NAMES, COMMON, strict=True)), (1, 3), dict(zip(NAMES, SMALL, strict=True)))
SLOTS = pack(LAYERS)
RANKS = 4


@given(st.sets(st.integers(0, 31), max_size=31))
def test_message_there_and_back(ranks: set[int]) -> None:
    plan = replace(PLAN, own_ranks=tuple(sorted(ranks)), own=PLAN.own if ranks else {})
    message = plan.to_message()
    assert Plan.from_message(message, LAYERS, 32) == plan
    first = Plan.message_bytes(len(LAYERS))
    assert len(message) - first == Plan.bytes_to_come(message[:first], len(LAYERS), 32)
    assert (len(message) > first) == bool(ranks)


@pytest.mark.parametrize("bits", [1 << 4, 1 << 31, 0b11010, 0b1111])
def test_ranks_that_there_are_not_are_refused(bits: int) -> None:
    message = HEAD.pack(5, len(LAYERS), bits) + PLAN.to_message()[HEAD.size :]
    for size in (len(message), Plan.message_bytes(len(LAYERS))):
        with pytest.raises(AgreementError, match=r"send less; it must be some, and not all, of ranks 0 to 3"):
            Plan.bytes_to_come(message[:size], len(LAYERS), RANKS)
    with pytest.raises(AgreementError, match="ranks 0 to 3"):
        Plan.from_message(message, LAYERS, RANKS)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_second_part_that_is_cut_is_refused(cut: int) -> None:
    for message in (PLAN.to_message()[:-cut], PLAN.to_message() + bytes(cut)):
        with pytest.raises(AgreementError, match="has 4 layers"):
            Plan.from_message(message, LAYERS, RANKS)


def test_a_damaged_option_of_the_second_part_is_named() -> None:
    message = bytearray(PLAN.to_message())
    message[Plan.message_bytes(len(LAYERS)) + 10] = 250  # operator of the second layer
    with pytest.raises(AgreementError, match=r"layer a\.bias is not possible"):
        Plan.from_message(bytes(message), LAYERS, RANKS)


def test_digests_see_who_sends_less_and_what() -> None:
    others = [
        replace(PLAN, own_ranks=(1,)),
        replace(PLAN, own_ranks=(), own={}),
        replace(PLAN, own={**PLAN.own, "b.weight": Option("topk", 10, "int8")}),
    ]
    assert len({plan.digest() for plan in (PLAN, *others)}) == 4
    differing = [n for n, x, y in zip(NAMES, PLAN.layer_digests(), others[2].layer_digests(), strict=True) if x != y]
    assert differing == ["b.weight"]


def test_a_bucket_travels_whole_only_if_it_does_so_for_all() -> None:
    whole = dict.fromkeys(NAMES, BFLOAT16)
    assert Plan(0, whole).mode(SLOTS) == "bfloat16"
    assert Plan(0, whole, (1,), whole).mode(SLOTS) == "bfloat16"
    assert Plan(0, whole, (1,), dict.fromkeys(NAMES, FLOAT32)).mode(SLOTS) == "frames"
    assert Plan(0, whole, (1,), PLAN.own).mode(SLOTS) == "frames"


def test_each_rank_records_its_own_plan() -> None:
    assert [record.codec for record in layer_records(LAYERS, PLAN, 0)] == ["int8", "bfloat16", "topk:log4", "float32"]
    assert [record.codec for record in layer_records(LAYERS, PLAN, 3)] == ["topk:log4", "drop", "topk:int8", "float32"]


def gradient(step: int, rank: int) -> Tensor:
    return torch.randn(SLOTS[-1].stop, generator=torch.Generator().manual_seed(100 * step + rank))


class Ranks:
    """All ranks of a world in one process."""

    def __init__(self) -> None:
        self.residuals = [EF14() for _ in range(RANKS)]
        self.coders = [Coder(residual, RANKS, rank) for rank, residual in enumerate(self.residuals)]
        self.step = 0

    def encode(self, plan: Plan, gradients: list[Tensor]) -> list[Sending]:
        buckets = [Bucket(self.step, 0, g.clone(), SLOTS) for g in gradients]
        return [c.encode(b, plan, StepLog(0.0), False) for c, b in zip(self.coders, buckets, strict=True)]

    def decode(self, sent: list[Sending]) -> list[Tensor]:
        for coder, sending in zip(self.coders, sent, strict=True):
            coder.decode(sending, [s.payload for s in sent], StepLog(0.0))
        return [sending.bucket.buffer for sending in sent]

    def owed(self, rank: int) -> Tensor:
        parts = [self.residuals[rank].owed(name) for name in NAMES]
        return torch.cat(
            [torch.zeros(la.numel) if p is None else p.clone() for la, p in zip(LAYERS, parts, strict=True)]
        )


def test_every_rank_keeps_what_its_own_plan_leaves() -> None:
    """Sum over ranks of residual + N average = the same before, + gradients; and all decode the same bits."""
    ranks = Ranks()
    plans = [replace(PLAN, own_ranks=(), own={}), PLAN, PLAN, replace(PLAN, own_ranks=(0,)), PLAN]
    for plan in plans:
        before = [ranks.owed(rank) for rank in range(RANKS)]
        gradients = [gradient(ranks.step, rank) for rank in range(RANKS)]
        sent = ranks.encode(plan, gradients)
        sizes = [plan.frame_bytes(SLOTS, rank) for rank in range(RANKS)]
        assert [sending.payload.numel() for sending in sent] == sizes
        assert all(sending.frame_bytes == sizes for sending in sent)
        averages = ranks.decode(sent)
        for residual in ranks.residuals:
            residual.end_step(set())
        assert all(torch.equal(average, averages[0]) for average in averages)
        left = torch.stack([ranks.owed(rank) for rank in range(RANKS)]).sum(0)
        came = torch.stack([*before, *gradients]).sum(0)
        assert torch.allclose(left + RANKS * averages[0], came, atol=2e-5)
        ranks.step += 1
    small, large = (float(ranks.owed(rank).square().sum()) for rank in (1, 2))
    assert small > 2 * large, "rank 1 sends less"


def test_a_void_step_is_taken_back_by_each_rank_for_itself() -> None:
    ranks = Ranks()
    gradients = [gradient(0, rank) for rank in range(RANKS)]
    gradients[2][7] = float("nan")
    averages = ranks.decode(ranks.encode(PLAN, gradients))
    assert all(bool(average.isnan().all()) for average in averages)
    for residual in ranks.residuals:
        residual.end_step(None)
    for rank in (0, 1, 3):
        assert torch.allclose(ranks.owed(rank)[: SLOTS[3].start], gradients[rank][: SLOTS[3].start], atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_damaged_frames_are_refused(rank: int) -> None:
    ranks = Ranks()
    sent = ranks.encode(PLAN, [gradient(0, r) for r in range(RANKS)])
    sent[rank].payload[18:40] = 255
    with pytest.raises(CodecError):
        ranks.decode(sent)
    sent[rank].payload[0] = 0
    with pytest.raises(ExchangeError, match=f"rank {rank} sent bytes that are not its frames"):
        ranks.decode(sent)

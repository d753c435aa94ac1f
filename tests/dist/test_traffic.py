"""Bytes on the wire = bytes in the plan = bytes in the record, by the count of the kernel's own sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import pytest
import torch.distributed as dist

import kimad
from kimad.compressors import Option
from kimad.tcp import read_own
from kimad.plan import BFLOAT16, DROP, FLOAT32, Plan
from kimad.recording import Ended
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, batch, swap, wrap

pytestmark = pytest.mark.torch

STEPS = 6
ROUNDING_BYTES = 64  # a third of a buffer is no whole number of bytes
MESSAGE_BYTES = 144  # gloo's header, and the two notes that a message is ready and that it is wanted


@final
@dataclass(frozen=True)
class Traffic:
    """One step of one rank."""

    step: int
    planned: int
    wire: int  # as recorded
    control: int  # as recorded
    sent: int  # by the sockets of Kimad's own group
    messages: int  # at most


@final
class Counted:
    """A group that counts the messages that gloo makes of its calls."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.messages = 0

    def send(self, tensors: Any, rank: int, tag: int) -> Any:
        self.messages += 1
        return self._group.send(tensors, rank, tag)

    def recv(self, tensors: Any, rank: int, tag: int) -> Any:
        return self._group.recv(tensors, rank, tag)

    def allreduce(self, tensors: Any) -> Any:
        self.messages += 4 * (self._group.size() - 1)
        return self._group.allreduce(tensors)

    def allgather(self, outputs: Any, inputs: Any) -> Any:
        self.messages += 2 * (self._group.size() - 1)
        return self._group.allgather(outputs, inputs)

    def broadcast(self, tensors: Any) -> Any:
        self.messages += self._group.size() - 1
        return self._group.broadcast(tensors)


def mixed_plan(plan: Plan) -> Plan:
    """Every operator, side by side in one bucket."""
    kinds = (Option("topk", 1, "log4"), Option("int8"), BFLOAT16, FLOAT32, DROP, Option("topk", 1, "int8"))
    return Plan(plan.step, {name: kinds[i % len(kinds)] for i, name in enumerate(plan.options)})


def counted(rank: int, objective: str) -> list[Traffic]:
    model = wrap(Zoo())
    before = set(read_own())
    fixed = "fixed:int8" if objective == "mixed" else objective
    state = kimad.attach(model, kimad.Config(kimad.parse_objective(fixed), cold_start_bytes=50_000))
    own = set(read_own()) - before
    loop = state.loop
    assert len(own) == loop.world_size - 1, "one connection to each peer"
    if objective == "mixed":
        loop.plan = mixed_plan(loop.plan)
    group = Counted(loop._exchange._group)
    swap(loop._exchange, "_group", group)
    swap(loop._agreement, "_open", group)
    record, planned = loop._record, [0]

    def watched(step: Ended) -> None:
        planned[0] = sum(step.plan.wire_bytes(bucket.slots, loop.world_size) for bucket in loop._buckets)
        record(step)

    swap(loop, "_record", watched)

    def sent_so_far() -> int:
        """When all ranks are idle; nobody goes on before all have read."""
        assert state.records or loop.plan.step == 0  # waits for the worker
        dist.barrier()
        sent = sum(info.written_bytes for key, info in read_own().items() if key in own)
        dist.barrier()
        return sent

    out, sent = [], sent_so_far()
    for step in range(STEPS):
        model.zero_grad()
        model(batch(rank, step)).pow(2).mean().backward()
        now = sent_so_far()
        last = state.records[-1]
        out.append(Traffic(step, planned[0], last.wire_bytes, last.control_bytes, now - sent, group.messages))
        sent, group.messages = now, 0
    state.close()
    return out


def check(traffic: list[Traffic]) -> None:
    assert len(traffic) == STEPS
    for t in traffic:
        assert t.wire == t.planned, t
        assert t.control > 0, t
        assert 0 <= t.sent - t.wire - t.control <= MESSAGE_BYTES * t.messages + ROUNDING_BYTES, t
        assert MESSAGE_BYTES * t.messages < t.wire / 3, t


PLANS = ["fixed:topk:0.1", "fixed:topk:0.1:int8", "fixed:int8", "fixed:bf16", "fixed:float32", "mixed", "progress:20"]


@pytest.mark.parametrize("objective", PLANS)
def test_two_ranks_send_what_is_planned_and_recorded(two_ranks: Ranks, objective: str) -> None:
    for traffic in two_ranks.run(counted, objective):
        check(traffic)


@pytest.mark.parametrize("objective", PLANS)
def test_three_ranks_send_what_is_planned_and_recorded(three_ranks: Ranks, objective: str) -> None:
    for traffic in three_ranks.run(counted, objective):
        check(traffic)

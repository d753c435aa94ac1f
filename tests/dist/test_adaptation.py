"""The loop follows the link: bytes fall and return with its rate, and a slow computer is not taken for a slow link."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.coder import Bucket
from kimad.tcp import Connection, read_own, socket_descriptors
from kimad.monitor import LinkSample, LinkSamples
from tests.dist.ranks import Ranks
from tests.dist.training import same_on_all_ranks, swap

LATE_S = 0.2  # s, by which a rank comes late: more than a frame takes at 100 Mbit/s
STEP_S = 1.0  # s, scripted: from one link sample to the next
SLOW_FROM, FAST_FROM, STEPS = 8, 16, 24
WITHIN = 3  # steps, from the first sample of the new rate on


def wide_model(width: int = 1024, layers: int = 3) -> DistributedDataParallel:
    torch.manual_seed(0)
    stack = [nn.Linear(width, width, bias=False) for _ in range(layers)]
    return DistributedDataParallel(nn.Sequential(*stack), bucket_cap_mb=5)


def backward(model: DistributedDataParallel, rank: int, step: int) -> None:
    x = torch.randn(4, 1024, generator=torch.Generator().manual_seed(1000 * step + rank))
    model.zero_grad()
    model(x).pow(2).mean().backward()


def scripted_mbps(step: int) -> float:
    return 30.0 if SLOW_FROM <= step < FAST_FROM else 330.0


def follow(rank: int, objective: str, ready_s: float) -> list[int]:
    """Bytes of each step on a link of 330, 30 and 330 Mbit/s; neither the machine's speed nor its network count.

    ready_s: seconds from one of the two buckets to the next. The whole gradient takes 0.3 s
    at 330 Mbit/s and 3.4 s at 30.
    """
    model = wide_model()
    state = kimad.attach(model, kimad.Config(kimad.parse_objective(objective)))
    loop, began_s = state.loop, time.monotonic()
    average = loop.average

    def samples(time_s: float, received: Sequence[Any], collective: Sequence[Any]) -> LinkSamples:
        step = loop.plan.step
        bps = scripted_mbps(step) * 1e6
        return LinkSamples.of(
            [LinkSample(began_s + STEP_S * step, bps, 1 << 20, 8 * (1 << 20) / bps) for _ in received]
        )

    def on_time(bucket: Bucket, _: float, done: Callable[[], None]) -> None:
        average(bucket, ready_s * (bucket.index + 1), done)

    swap(loop, "average", on_time)
    if loop._planner is not None:
        swap(loop._planner._coding, "update", lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kimad.observation.link_samples", samples)
        patch.setattr("kimad.unequal.direction_samples", lambda time_s, peers: 2 * (samples(time_s, peers, ()),))
        for step in range(STEPS):
            backward(model, rank, step)
        sent = [record.wire_bytes for record in state.records]
    assert same_on_all_ranks(model)
    state.close()
    return sent


@pytest.mark.parametrize(("objective", "ready_s"), [("progress", 0.1), ("step-time:0.3", 0.1), ("overlap:0.2", 0.2)])
def test_bytes_follow_a_link_that_slows_down_and_recovers(two_ranks: Ranks, objective: str, ready_s: float) -> None:
    first, second = two_ranks.run(follow, objective, ready_s)
    assert first == second
    before = first[SLOW_FROM]  # decided when the last fast sample had been seen
    fallen = min(first[SLOW_FROM + 1 : SLOW_FROM + 1 + WITHIN])
    slow = first[FAST_FROM]
    returned = max(first[FAST_FROM + 1 : FAST_FROM + 1 + WITHIN])
    assert fallen <= before / 4, first
    assert slow <= before / 4, first
    assert returned >= 3 * before / 4, first


def estimates(rank: int, objective: str, late_s: float, mbps: float) -> float:
    """Median link sample of rank 0 on sockets that the kernel paces, while rank 1 comes late to every step."""
    model = wide_model(layers=1)
    before = set(read_own())
    state = kimad.attach(model, kimad.Config(kimad.parse_objective(objective)))
    paced = []
    for descriptors in socket_descriptors().values():
        connection = Connection.duplicate(descriptors[0])
        if connection is None:
            continue
        if connection.key in before:
            connection.close()
            continue
        connection.limit(int(mbps * 1e6 / 8))
        paced.append(connection)
    assert len(paced) == 1
    for connection in paced:
        connection.close()
    for step in range(6):
        if rank == 1:
            time.sleep(late_s)
        backward(model, rank, step)
    seen = [record.link.samples_bps[0] for record in state.records]
    state.close()
    return statistics.median(bps for bps in seen if bps is not None)


@pytest.mark.parametrize("objective", ["fixed:int8", "fixed:topk:0.3", "fixed:bf16"])
def test_a_late_rank_is_not_a_slow_link(two_ranks: Ranks, objective: str) -> None:
    """Frames of 0.3 to 2 MB take 25 to 170 ms at 100 Mbit/s: to count the waiting would halve the estimate."""
    punctual, _ = two_ranks.run(estimates, objective, 0.0, 100.0)
    late, _ = two_ranks.run(estimates, objective, LATE_S, 100.0)
    assert 0.5 < late / punctual < 2.0, (late, punctual)
    assert 50e6 < punctual < 200e6
    assert 50e6 < late < 200e6

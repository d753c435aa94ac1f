"""All ranks take one plan, whatever each of them has measured; where they would not, nothing is sent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

import kimad
from kimad.compressors import Option
from kimad.coder import Bucket, Sending
from kimad.layout import Layer
from kimad.monitor import LinkSample, LinkSamples
from kimad.plan import FLOAT32, Plan
from kimad.recording import Ended
from kimad.statistics import StepLog
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, same_on_all_ranks, swap, train, wrap

DIFFERS_FROM = 5  # step


def differ(rank: int, where: int) -> tuple[str, list[int], int]:
    """One rank is given another plan for one layer; the steps whose plans were used come back."""
    model = wrap(Zoo())
    config = kimad.Config(kimad.Progress(), outage_timeout_s=20, cold_start_bytes=20_000)
    state = kimad.attach(model, config)
    coder, agreement = state.loop._coder, state.loop._agreement
    used: list[int] = []
    fired = 0
    encode, share = coder.encode, agreement.share

    def watched(bucket: Bucket, plan: Plan, log: StepLog, read_curves: bool) -> Sending:
        used.append(plan.step)
        return encode(bucket, plan, log, read_curves)

    def other(plan: Plan | None, layers: Sequence[Layer]) -> Plan:
        nonlocal fired
        shared = share(plan, layers)
        if shared.step < DIFFERS_FROM:
            return shared
        fired += 1
        mine = shared.options["wide.weight"]
        wrong = FLOAT32 if mine.operator == "topk" else Option("topk", 7, "log4")
        return replace(shared, options={**shared.options, "wide.weight": wrong})

    swap(coder, "encode", watched)
    if rank == where:
        swap(agreement, "share", other)
    with pytest.raises(kimad.AgreementError) as caught:
        train(model, rank, DIFFERS_FROM + 3)
    state.close()
    return str(caught.value), used, fired


def check_differ(answers: list[Any], where: int) -> None:
    assert [fired > 0 for _, _, fired in answers] == [rank == where for rank in range(len(answers))]
    for text, used, _ in answers:
        assert f"rank {where} and rank 0" in text
        assert "wide.weight" in text
        assert len(set(re.findall(r"\b[0-9a-f]{16}\b", text))) == 2, text
        assert max(used) == DIFFERS_FROM - 1, "no frame of the disputed plan was made"


def test_a_plan_that_differs_on_one_rank_stops_all_before_any_frame(two_ranks: Ranks, three_ranks: Ranks) -> None:
    check_differ(two_ranks.run(differ, 1), 1)
    check_differ(three_ranks.run(differ, 2), 2)


def settings(rank: int, changes: dict[str, Any]) -> str:
    """Rank 1 is configured otherwise."""
    config = kimad.Config(kimad.Fixed("float32"), outage_timeout_s=20)
    began_s = time.monotonic()
    with pytest.raises(kimad.AgreementError) as caught:
        kimad.attach(wrap(Zoo()), replace(config, **changes) if rank == 1 else config)
    assert time.monotonic() - began_s < 10
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objective": kimad.Fixed("topk", 0.1, "log4")}, "objective"),
        ({"objective": kimad.Progress()}, "objective"),
        ({"piece_bytes": 100_000}, "piece_bytes"),
        ({"refresh_steps": 3}, "refresh_steps"),
        ({"cold_start_bytes": 50_000}, "cold_start_bytes"),
    ],
)
def test_settings_that_differ_are_an_error_at_attach(two_ranks: Ranks, changes: dict[str, Any], named: str) -> None:
    for text in two_ranks.run(settings, changes):
        assert named in text
        assert "rank 1" in text
        assert "rank 0" in text


def own_view(rank: int, mbps: Sequence[float]) -> list[tuple[tuple[int, ...], int]]:
    """Every rank measures another link and another speed; (digests, bytes) of each step's plan."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(kimad.Progress(), cold_start_bytes=20_000))
    loop = state.loop
    average, record = loop.average, loop._record
    plans: list[tuple[tuple[int, ...], int]] = []

    def samples(time_s: float, received: Sequence[Any], collective: Sequence[Any]) -> LinkSamples:
        return LinkSamples.of([LinkSample(time_s, mbps[rank] * 1e6, 1 << 20, 1.0) for _ in received])

    def slower(bucket: Bucket, ready_s: float, done: Callable[[], None]) -> None:
        average(bucket, (rank + 1) * 0.01 * (bucket.index + 1), done)

    def watched(step: Ended) -> None:
        sent = sum(step.plan.wire_bytes(b.slots, loop.world_size) for b in loop._buckets)
        plans.append((tuple(step.plan.layer_digests()), sent))
        record(step)

    swap(loop, "average", slower)
    swap(loop, "_record", watched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kimad.observation.link_samples", samples)
        patch.setattr("kimad.unequal.direction_samples", lambda time_s, peers: 2 * (samples(time_s, peers, ()),))
        train(model, rank, 20)
        assert len(state.records) == 20
    assert same_on_all_ranks(model)
    state.close()
    return plans


@pytest.mark.parametrize("mbps", [(0.2, 1e6, 7.0), (1e6, 0.2, 7.0)])
def test_ranks_that_measure_different_things_take_the_same_plan(three_ranks: Ranks, mbps: Sequence[float]) -> None:
    first, *others = three_ranks.run(own_view, mbps)
    assert all(plans == first for plans in others)
    assert len({digests for digests, _ in first}) > 1, "there was something to decide"
    bytes_at_end = first[-1][1]
    assert (bytes_at_end < 20_000) == (mbps[0] < 1), "and rank 0's view decided it"

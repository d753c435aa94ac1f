"""The planner on ranks with unequal links: when it makes two plans, and when it goes back to one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kimad import Config, Objective, Progress, StepTime
from kimad.compressors import Option
from kimad.decide import Decision, Planner
from kimad.layout import pack
from kimad.observation import Observation
from kimad.plan import Plan
from kimad.sim.arrivals import arrivals
from kimad.sim.links import Links
from kimad.statistics import OPERATORS, Everyone, Statistics
from kimad.trace import Const, HostLink
from kimad.unequal import PATIENCE
from tests.unit.cases import heavy_model

RANKS = 4
MODEL = heavy_model(24, seed=5, world_size=RANKS)
LAYERS = MODEL.layers
READY_S = 2.0 * np.arange(1, len(MODEL.buckets) + 1) / len(MODEL.buckets)
ENERGY = np.stack([curve.energy for curve in MODEL.curves])
SLOTS = [pack(bucket) for bucket in MODEL.buckets]
EQUAL = [(20.0, 20.0)] * 4
SLOW_UP, SLOW = [*EQUAL[:3], (2.0, 20.0)], [*EQUAL[:3], (2.0, 2.0)]


class Run:
    """A planner that sees of links, up and down in Mbit/s, what a step under its own plans shows of them."""

    def __init__(self, objective: Objective | None = None, peers: bool = True, **settings: object) -> None:
        config = Config(objective=objective or Progress(), **settings)  # type: ignore[arg-type]
        self.planner = Planner(config, LAYERS, RANKS)
        self.plan = Plan(0, dict.fromkeys((layer.name for layer in LAYERS), Option("int8")))
        self.decision = Decision(self.plan, {}, None, 0.0)
        self.peers = peers

    def seen(self, mbps: list[tuple[float, float]], own_owed: float | None = None) -> Observation:
        size = np.array([sum(self.plan.frame_bytes(slots, r) for slots in SLOTS) for r in range(RANKS)], np.float64)
        links = Links([HostLink(Const(up), Const(down)) for up, down in mbps])
        seconds = arrivals(links, 0.0, 8 * size) * ~np.eye(RANKS, dtype=bool)
        received = np.column_stack([size.sum() - size, seconds.max(axis=1)])
        ranks = [
            Statistics(
                False, 0.0, (received[r, 0], received[r, 1]), (0, 0.0), READY_S, 0.0, 0.0, 0.0, 1.0,
                np.zeros(len(OPERATORS)), np.zeros(len(OPERATORS)), np.zeros(len(LAYERS), bool),
                np.array([size[r], *seconds[r]]) if self.peers else np.empty(0),
            )
            for r in range(RANKS)
        ]  # fmt: skip
        step = self.plan.step + 1
        gradient = ENERGY[:, -1] / 4
        own = None if own_owed is None else own_owed * gradient / RANKS
        return Observation.of(step, float(step), MODEL.buckets, Everyone.of(ranks), ENERGY, gradient, own)

    def step(self, mbps: list[tuple[float, float]], own_owed: float | None = None) -> Plan:
        seen = self.seen(mbps, own_owed)
        self.planner.observe(seen)
        self.decision = self.planner.decide(self.plan, seen.end_s)
        self.plan = self.decision.plan
        return self.plan


@pytest.mark.parametrize("objective", [Progress(), StepTime(4.0)], ids=str)
@pytest.mark.parametrize("mbps", [EQUAL, SLOW], ids=["equal links", "slow both ways"])
def test_one_plan_and_the_same_as_ever(objective: Objective, mbps: list[tuple[float, float]]) -> None:
    """Bit for bit what a planner decides that is not told who received what from whom."""
    ours, blind = Run(objective), Run(objective, peers=False)
    for _ in range(12):
        assert ours.step(mbps).to_message() == blind.step(mbps).to_message()
        assert ours.plan.own_ranks == ()
    assert ours.decision.predicted == blind.decision.predicted


@pytest.mark.parametrize("objective", [Progress(), StepTime(4.0)], ids=str)
def test_a_rank_that_becomes_slow_and_fast_again(objective: Objective) -> None:
    run = Run(objective)
    slow_from, fast_from = 6, 20
    who = [run.step(SLOW_UP if slow_from <= i < fast_from else EQUAL).own_ranks for i in range(30)]
    assert not any(who[: slow_from + PATIENCE - 1])
    assert set(who[slow_from + PATIENCE + 2 : fast_from]) == {(3,)}
    assert set(who[fast_from + 3 :]) == {()}, "and stays so"
    fresh = Run(objective)
    for _ in range(30):
        fresh.step(EQUAL)
    sent = [sum(plan.frame_bytes(slots) for slots in SLOTS) for plan in (run.plan, fresh.plan)]
    assert sent[0] == pytest.approx(sent[1], rel=0.1)


def test_what_is_sent_fits_the_links() -> None:
    run = Run()
    for _ in range(12):
        run.step(SLOW_UP)
    common, own = (sum(run.plan.frame_bytes(slots, rank) for slots in SLOTS) for rank in (0, 3))
    assert own < common / 3
    assert [slots for slots in SLOTS if run.plan.mode(slots) != "frames"] == []
    blind = Run(peers=False)
    for _ in range(12):
        blind.step(SLOW_UP)
    assert run.decision.predicted["error"] < 0.8 * blind.decision.predicted["error"]
    assert run.decision.predicted["step_s"] < 1.2 * blind.decision.predicted["step_s"]


def test_the_reason_is_given_in_words() -> None:
    run = Run()
    for _ in range(6):
        run.step(SLOW_UP)
    assert run.decision.why.startswith("rank 3, whose uplink carries ")
    assert "sends" in run.decision.why
    assert "cosine/s for one plan" in run.decision.why
    before = run.decision.why
    run.step(SLOW_UP)
    assert run.decision.why == before, "not said anew in each step"


def test_a_probe_is_sent_by_all() -> None:
    run = Run(probe_after_s=5.0)
    for _ in range(8):
        run.step(SLOW_UP)
    assert run.planner.decide(run.plan, run.plan.step + 1.0).plan.own_ranks == (3,)
    assert run.planner.decide(run.plan, run.plan.step + 50.0).plan.own_ranks == ()


def test_layers_that_any_rank_drops_are_counted() -> None:
    limit = 4
    run = Run(StepTime(2.2), max_drop_steps=limit)
    since = dict.fromkeys(run.plan.options, 0)
    longest = dropped = 0
    for _ in range(25):
        plan = run.step(SLOW_UP)
        for name in since:
            if plan.own_ranks:
                dropped += plan.own[name].operator == "drop" and plan.options[name].operator != "drop"
            gone = any(plan.of(rank)[name].operator == "drop" for rank in (0, 3))
            since[name] = since[name] + 1 if gone else 0
        longest = max(longest, *since.values())
    assert run.plan.own_ranks == (3,)
    assert dropped > 0
    assert longest == limit


def test_what_they_owe_is_bounded_for_themselves() -> None:
    """A backlog of the ranks that send less alone makes layers starved, as one of all would."""
    run = Run(StepTime(2.2), max_owed_factor=50.0)
    for _ in range(8):
        run.step(SLOW_UP, own_owed=2.0)
    assert run.plan.own_ranks == (3,)
    assert not run.planner._staleness.least_share.any()
    dropped = {name for name, option in run.plan.own.items() if option.operator == "drop"}
    run.step(SLOW_UP, own_owed=1e4)
    sent_now = {name for name in dropped if run.plan.own[name].operator != "drop"}
    assert len(dropped) > 3
    assert sent_now == dropped


def test_without_samples_for_long_there_is_one_plan() -> None:
    run = Run()
    for _ in range(8):
        run.step(SLOW_UP)
    assert run.plan.own_ranks == (3,)
    who = []
    for _ in range(12):
        seen = run.seen(SLOW_UP)
        assert seen.everyone.peers is not None
        seen.everyone.peers[:] = 0.0
        run.planner.observe(replace(seen, curves=None))
        run.plan = run.planner.decide(run.plan, seen.end_s).plan
        who.append(run.plan.own_ranks)
    assert who[:5] == [(3,)] * 5
    assert who[-1] == ()

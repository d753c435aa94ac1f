"""Watches a run's planner, and lets the simulator decide on what it was told. Runs on the ranks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import kimad
from kimad.decide import Decision
from kimad.observation import Observation
from kimad.plan import Plan
from kimad.sim.strategy import Adaptive, Site
from kimad.statistics import Everyone
from tests.dist.training import swap


def observed(state: kimad.State) -> tuple[list[Observation], list[bytes]]:
    """What rank 0's planner is told from now on, and the plans that it makes, behind the one in force."""
    planner = state.loop._planner
    seen: list[Observation] = []
    plans = [state.loop.plan.to_message()]
    if planner is not None:
        observe, decide = planner.observe, planner.decide

        def watched(observation: Observation) -> None:
            everyone = observation.everyone
            kept = Everyone(everyone.table.copy(), everyone.buckets, everyone.layers)
            seen.append(dataclasses.replace(observation, everyone=kept))
            observe(observation)

        def noted(plan: Plan, now_s: float) -> Decision:
            decision = decide(plan, now_s)
            plans.append(decision.plan.to_message())
            return decision

        swap(planner, "observe", watched)
        swap(planner, "decide", noted)
    return seen, plans


def replayed(state: kimad.State, seen: Sequence[Observation], plans: Sequence[bytes]) -> None:
    """Assert that the simulator decides the same on it, byte for byte."""
    loop = state.loop
    site = Site(seen[-1].buckets, loop.world_size, "all-gather", 0.0, {}, loop.world_size)
    again = Adaptive(site, state.config, loop._layers)
    assert again.plan.to_message() == plans[0]
    for observation, after in zip(seen, plans[1:], strict=True):
        again.observe(observation)
        assert again.plan.to_message() == after

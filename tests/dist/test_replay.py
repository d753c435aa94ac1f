"""The simulator decides as the runtime does: from a run's own statistics, plan by plan, byte for byte."""

from __future__ import annotations

import dataclasses

import pytest

import kimad
from kimad.decide import Observation
from kimad.plan import Plan
from kimad.sim.strategy import Adaptive, Site
from kimad.statistics import Everyone
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, swap, train, wrap

pytestmark = pytest.mark.dist
STEPS = 25


def recorded(rank: int, objective: str, solver: str) -> bool:
    """Train, keep all that the planner was told, and let the simulator decide on it again."""
    model = wrap(Zoo())
    config = kimad.Config(kimad.parse_objective(objective), solver=solver, cold_start_bytes=20_000)
    state = kimad.attach(model, config)
    loop = state.loop
    seen: list[Observation] = []
    plans: list[Plan] = [loop.plan]
    if loop._planner is not None:
        observe, decide = loop._planner.observe, loop._planner.decide

        def watched(observation: Observation) -> None:
            everyone = observation.everyone
            kept = Everyone(everyone.table.copy(), everyone.buckets, everyone.layers)
            seen.append(dataclasses.replace(observation, everyone=kept))
            observe(observation)

        def noted(plan: Plan, now_s: float) -> object:
            decision = decide(plan, now_s)
            plans.append(decision.plan)
            return decision

        swap(loop._planner, "observe", watched)
        swap(loop._planner, "decide", noted)
    train(model, rank, STEPS)
    state.close()
    if rank:
        return True
    assert len(seen) == STEPS
    assert len({plan.digest() for plan in plans}) > 5, "there was something to decide"
    site = Site(seen[-1].buckets, loop.world_size, "all-gather", 0.0, {}, loop.world_size)
    again = Adaptive(site, config, loop._layers)
    for observation, before, after in zip(seen, plans[:-1], plans[1:], strict=True):
        assert again.plan.to_message() == before.to_message()
        again.observe(observation)
        assert again.plan.to_message() == after.to_message()
    return True


@pytest.mark.parametrize(
    ("objective", "solver"),
    [
        ("progress", "nested"),
        ("progress", "lagrangian"),
        ("step-time:0.01", "nested"),
        ("step-time:0.01", "uniform"),
        ("error-bound:0.2", "lagrangian"),
        ("overlap:0.2", "knapsack"),
    ],
)
def test_the_simulator_decides_as_the_runtime_did(two_ranks: Ranks, objective: str, solver: str) -> None:
    assert all(two_ranks.run(recorded, objective, solver))

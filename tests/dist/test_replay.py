"""The simulator decides as the runtime does: from a run's own statistics, plan by plan, byte for byte."""

from __future__ import annotations

import pytest

import kimad
from kimad.plan import Plan
from tests.dist.ranks import Ranks
from tests.dist.replay import observed, replayed
from tests.dist.training import Zoo, train, wrap

pytestmark = pytest.mark.dist
STEPS = 25


def recorded(rank: int, objective: str, solver: str) -> None:
    """Train, keep all that the planner was told, and let the simulator decide on it again."""
    model = wrap(Zoo())
    config = kimad.Config(kimad.parse_objective(objective), solver=solver, cold_start_bytes=200_000)
    state = kimad.attach(model, config)
    seen, plans = observed(state)
    train(model, rank, STEPS)
    state.close()
    if rank == 0:
        assert len(seen) == STEPS
        options = {tuple(Plan.from_message(plan, state.loop._layers).layer_digests()) for plan in plans}
        assert len(options) > 1, "there was something to decide"
        replayed(state, seen, plans)


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
    two_ranks.run(recorded, objective, solver)

"""From which link rate on compressing is not worth its time: found by simulating training near that very rate.

rate_{i+1} = rate above which the planner, after some steps at rate_i, would leave nothing out

What coding costs is known from the start: a planner that has not tried an operator yet hopes too much of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from kimad.config import Config
from kimad.sim.simulate import Scenario, follow
from kimad.sim.strategy import Adaptive
from kimad.sim.workload import Workload
from kimad.trace import parse_links
from kimad.verdict import HIGHEST_BPS, LOWEST_BPS

FIRST_BPS = 3e8
STEPS = 12  # error curves, costs and residuals have settled
ROUNDS, CLOSE = 6, 0.03
SLOWEST_BPS, FASTEST_BPS = 1e5, 1e12  # that are simulated


@final
@dataclass(frozen=True)
class BreakEven:
    """Of a model, trained by so many workers with the default objective."""

    workers: int
    compute_s: float  # mean seconds of computing a step
    bps: float | None  # payload, bit/s; above it plain DDP makes more progress a second. None: compressing always wins

    @property
    def never_compress(self) -> bool:
        """Whether plain DDP wins on any link."""
        return self.bps is not None and self.bps <= LOWEST_BPS


def break_even(workload: Workload, workers: int) -> BreakEven:
    """The break-even on links that are equal and constant. Frames go to all, as the runtime sends them.

    Raises SimulationError for a number of workers that is not allowed.
    """
    found: float | None = FIRST_BPS
    compute_s = 0.0
    for _ in range(ROUNDS):
        bps = min(FASTEST_BPS, max(SLOWEST_BPS, found or HIGHEST_BPS))
        links = parse_links(f"const:{bps / 1e6:.6g}", workers)
        scenario = Scenario(workload, links, STEPS, exchange="all-gather", header_share=1.0)
        compute_s = scenario.compute_s
        planner = Adaptive(scenario.site, Config(), workload.layers, costs_known=True)
        follow(scenario, "kimad", planner)
        before, found = found, planner.dense_above_bps(bps)
        if found == before or (found and before and abs(found / before - 1) < CLOSE):
            break
    return BreakEven(workers, compute_s, found)

"""What probing is worth, on simulated links: `python -m benchmarks.probing`.

Small models on links so slow that frames measure nothing. The link becomes ten times as fast, and it is counted how
long that stays unseen; or it never changes, and then probes are in vain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final
from unittest.mock import patch

import numpy as np

from benchmarks.rows import NEVER, Row, command
from kimad import probe as probing
from kimad.config import Config
from kimad.sim.gradients import Owed
from kimad.sim.links import Links
from kimad.sim.models import Model, Part
from kimad.sim.simulate import HEADER_SHARE, Scenario, observation
from kimad.sim.step import run_step
from kimad.sim.strategy import Adaptive
from kimad.trace import parse_links

WORKERS, COMPUTE_S = 2, 0.05
RISE_S = 60.0  # s, when the link becomes faster
WARM_S = 20.0  # s, after which a run on a constant link counts
FOUND = 0.75  # of the new rate
CASES = ((100_000, 0.1), (100_000, 0.5), (100_000, 2.0), (2_000_000, 1.0))  # entries about, Mbit/s


@final
@dataclass(frozen=True)
class Step:
    """One simulated step."""

    end_s: float
    step_s: float
    mean_bps: float  # forecast after it; 0 while there is none
    cosine: float  # of what was sent and what was owed
    probe: bool


def model(entries: int) -> Model:
    """A network of three equal square layers with so many entries."""
    width = round((entries / 3) ** 0.5)
    return Model(tuple(Part(f"layer{i}", (width, width), 1.0) for i in range(3)), COMPUTE_S)


def run(entries: int, link: str, seconds: float, seed: int = 0) -> list[Step]:
    """What the runtime's planner does on a link."""
    workload = model(entries).workload("square", COMPUTE_S, 0.05, seed)
    scenario = Scenario(workload, parse_links([link], WORKERS), seed=seed)
    buckets = scenario.site.buckets
    chosen = Adaptive(scenario.site, Config(), workload.layers)
    owed, links = Owed(workload, np.random.default_rng([seed, 2])), Links(scenario.links)
    random = np.random.default_rng([seed, 1])
    start_s = np.zeros(WORKERS)
    steps: list[Step] = []
    with counted_probes() as probes:
        while not steps or steps[-1].end_s < seconds:
            probe = bool(probes and probes.pop())
            ready_s = workload.ready_s[random.integers(len(workload.ready_s))]
            computing_s = np.broadcast_to(ready_s, (WORKERS, len(buckets)))
            times = run_step(start_s, computing_s, chosen.loads(), links, HEADER_SHARE)
            owed.next_step()
            reading = (owed.energy(), owed.gradient_square()) if chosen.reads_curves else None
            cosine = owed.send(chosen.plan) ** 0.5
            chosen.observe(observation(len(steps), buckets, times, chosen, reading, len(workload.layers)))
            end_s = float(times.end_s.max())
            forecast = chosen.forecast(end_s)
            mean_bps = forecast.mean_bps if forecast else 0.0
            steps.append(Step(end_s, end_s - float(start_s.max()), mean_bps, cosine, probe))
            start_s = times.end_s
    return steps


@contextmanager
def counted_probes() -> Iterator[list[bool]]:
    """A list that has one True more whenever a probe is decided on."""
    decided: list[bool] = []
    rule = probing.probe_bytes

    def noted(*arguments: object) -> float | None:
        needed = rule(*arguments)  # type: ignore[arg-type]
        if needed is not None:
            decided.append(True)
        return needed

    with patch("kimad.probe.probe_bytes", noted):
        yield decided


def found_after_s(entries: int, mbps: float) -> float:
    """Seconds after the link became ten times as fast until the forecast says so."""
    link = f"concat:{RISE_S},const:{mbps}|{RISE_S},const:{10 * mbps}"
    wanted_bps = FOUND * 10e6 * mbps / HEADER_SHARE
    steps = run(entries, link, 2 * RISE_S)
    return next((s.end_s - RISE_S for s in steps if s.end_s > RISE_S and s.mean_bps >= wanted_bps), NEVER)


def cost_shares(entries: int, mbps: float) -> tuple[float, float]:
    """Shares of a run on a constant link that probes take: of its time, and of its progress a second."""
    steps = [step for step in run(entries, f"const:{mbps}", WARM_S + 2 * RISE_S) if step.end_s > WARM_S]
    usual = [step for step in steps if not step.probe]
    total_s, usual_s = (sum(step.step_s for step in some) for some in (steps, usual))
    extra_s = total_s - usual_s - (len(steps) - len(usual)) * usual_s / len(usual)
    rate, usual_rate = (
        sum(step.cosine for step in some) / seconds for some, seconds in ((steps, total_s), (usual, usual_s))
    )
    return extra_s / total_s, 1 - rate / usual_rate


def measure(quick: bool) -> list[Row]:
    """Rows of all cases."""
    rows = []
    for entries, mbps in CASES[1:3] if quick else CASES:
        name = f"{entries / 1e6:g} million entries, {mbps:g} Mbit/s"
        rows.append(Row(f"{name}, then tenfold: seen after", found_after_s(entries, mbps), "s", 5, "lower"))
        time_share, progress_share = cost_shares(entries, mbps)
        note = f"progress a second {-100 * progress_share:+.2f} %"
        rows.append(Row(f"{name}, constant: time of probes", 100 * time_share, "%", 1, "lower", note))
    return rows


main = command("probing", measure)

if __name__ == "__main__":
    main()

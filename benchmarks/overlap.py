"""What a price for each bucket is worth over one price for all of them: simulated runs of both, on the same links."""

from __future__ import annotations

import statistics

from benchmarks.rows import Row
from kimad.sim import Scenario, simulate
from kimad.sim.models import MODELS
from kimad.trace import parse_links

SCENARIOS = (  # model, seconds of computing, workers, link
    ("resnet18", 0.1, 2, "const:30"),
    ("resnet18", 0.1, 2, "const:300"),
    ("resnet18", 0.5, 4, "const:100"),
    ("moe-small", 0.6, 2, "const:100"),
    ("resnet50", 0.35, 4, "const:300"),
)
OBJECTIVES = ("kimad", "overlap:0.3")
STEPS, SKIP = 100, 30  # the first steps know little


def overlap_rows(quick: bool) -> list[Row]:
    """Progress a second with a price for each bucket over that with one price: the mean of all scenarios."""
    rows = []
    for objective in OBJECTIVES:
        gains, notes = [], []
        for model, compute_s, workers, link in SCENARIOS[:2] if quick else SCENARIOS:
            workload = MODELS[model]().workload(model, compute_s)
            scenario = Scenario(workload, parse_links([link], workers), STEPS)
            nested, single = (progress(scenario, f"{objective}@{solver}") for solver in ("nested", "lagrangian"))
            gains.append(nested / single)
            notes.append(f"{model} {compute_s:g} s x{workers} {link} {gains[-1]:.3f}")
        name = f"{objective}, a price for each bucket / one price, progress a second, simulated"
        rows.append(Row(name, statistics.fmean(gains), "x", 1.0, "higher", "; ".join(notes)))
    return rows


def progress(scenario: Scenario, strategy: str) -> float:
    """Mean cosine of what is sent with what is owed, over the mean step."""
    result = simulate(scenario, strategy)
    return float((result.kept[SKIP:] ** 0.5).mean() / result.step_s[SKIP:].mean())

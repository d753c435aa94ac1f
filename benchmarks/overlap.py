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
    ("resnet18", 0.5, 8, "sine:30,330,30"),
    ("moe-small", 0.2, 4, "walk:30,330,20"),
    ("gpt2", 0.5, 2, "const:1000"),
    ("gpt2", 2.0, 4, "const:300"),
)
OBJECTIVES = ("kimad", "overlap:0.1")
STEPS, SKIP = 150, 20  # the first steps know little


def overlap_rows(quick: bool) -> list[Row]:
    """Progress a second of a price for each bucket over that of one price: the mean of all scenarios, and the least."""
    rows = []
    for objective in OBJECTIVES:
        gains, notes = [], []
        for model, compute_s, workers, link in SCENARIOS[:3] if quick else SCENARIOS:
            workload = MODELS[model]().workload(model, compute_s)
            scenario = Scenario(workload, parse_links([link], workers), 40 if quick else STEPS)
            nested, single = (progress(scenario, f"{objective}@{solver}", SKIP) for solver in ("nested", "lagrangian"))
            gains.append(nested / single)
            notes.append(f"{model} {compute_s:g} s x{workers} {link} {gains[-1]:.3f}")
        name = f"{objective}, a price for each bucket / one price, progress a second"
        rows.append(Row(f"{name}, mean", statistics.fmean(gains), "x", 1.0, "higher", "; ".join(notes)))
        rows.append(Row(f"{name}, least", min(gains), "x", 0.98, "higher", "of the same"))
    return rows


def progress(scenario: Scenario, strategy: str, skip: int) -> float:
    """Mean cosine of what is sent with what is owed, over the mean step."""
    result = simulate(scenario, strategy)
    return float((result.kept[skip:] ** 0.5).mean() / result.step_s[skip:].mean())

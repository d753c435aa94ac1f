"""The demo's times to the same loss."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.rows import Row
from examples.resnet.__main__ import PLANS
from examples.resnet.report import Run, operating_point, read_run, summarise
from examples.resnet.runner import MEAN_MBPS, run

QUICK_STEPS = 4


def training_rows(quick: bool) -> list[Row]:
    """Four runs on the demo's link; a run that never reached the loss counts with all of its time."""
    plans = [replace(p, steps=QUICK_STEPS, seconds=0.0) for p in PLANS] if quick else list(PLANS)
    with tempfile.TemporaryDirectory() as folder:
        for plan in plans:
            run(plan, Path(folder) / plan.name, lambda left_s: None)
        runs = {plan.name: read_run(Path(folder) / plan.name, plan.name) for plan in plans}
        point = operating_point(Path(folder) / "kimad" / "records.jsonl", MEAN_MBPS)
    return compare(runs, str(point))


def compare(runs: dict[str, Run], point: str) -> list[Row]:
    """The three bounds of the demo; `point` says where they were measured."""
    rows = {row.name: row for row in summarise(list(runs.values()))}
    taken_s, said = {}, {}
    for name, row in rows.items():
        reached = row.time_to_loss_s
        taken_s[name] = reached if reached is not None else runs[name].t_s[-1]
        said[name] = f"{name} {taken_s[name]:.1f} s" + ("" if reached is not None else " (not reached)")
    kimad = taken_s["kimad"] if rows["kimad"].time_to_loss_s is not None else float("inf")
    return [
        Row(
            "demo, time to loss, DDP / kimad",
            taken_s["ddp"] / kimad,
            "x",
            3.5,
            "higher",
            f"{said['ddp']}, {said['kimad']}; {point}",
        ),
        Row("demo, time to loss, bf16 / kimad", taken_s["bf16"] / kimad, "x", 1.8, "higher", said["bf16"]),
        Row(
            "demo, time to loss, kimad / fixed_topk",
            kimad / taken_s["fixed_topk"],
            "x",
            1.05,
            "lower",
            said["fixed_topk"],
        ),
    ]

"""The demo's times to the same loss."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import estimate
from benchmarks.rows import NEVER, Row
from examples.resnet.__main__ import PLANS
from examples.resnet.report import Run, operating_point, read_run, summarise
from examples.resnet.runner import MEAN_MBPS, Plan, run

QUICK_STEPS, QUICK_BATCH = 11, 8  # one step more than the window of the loss
QUICK_LINK, QUICK_MEAN_MBPS = "sine:300,3300,15", 1800.0  # ten times as fast as the demo's


def training_rows() -> list[Row]:
    """Four runs on the demo's link."""
    with tempfile.TemporaryDirectory() as folder:
        return _train(PLANS, Path(folder), MEAN_MBPS)


def quick_rows() -> list[Row]:
    """A few steps of the same four runs on a faster link, and what the last of them measured of it."""
    plans = tuple(replace(plan, steps=QUICK_STEPS, seconds=0.0, link=QUICK_LINK, batch=QUICK_BATCH) for plan in PLANS)
    with tempfile.TemporaryDirectory() as folder:
        rows = _train(plans, Path(folder), QUICK_MEAN_MBPS)
        return [*estimate.rows_of(Path(folder) / "kimad", QUICK_LINK), *rows]


def _train(plans: tuple[Plan, ...], folder: Path, mean_mbps: float) -> list[Row]:
    for plan in plans:
        run(plan, folder / plan.name, lambda left_s: None)
    runs = {plan.name: read_run(folder / plan.name, plan.name) for plan in plans}
    return compare(runs, str(operating_point(folder / "kimad" / "records.jsonl", mean_mbps)))


def compare(runs: dict[str, Run], point: str) -> list[Row]:
    """The three bounds of the demo; `point` says where they were measured.

    Another run that never reached the loss counts with all of its time, which favours it; Kimad's then counts as never.
    """
    rows = {row.name: row for row in summarise(list(runs.values()))}
    taken_s, said = {}, {}
    for name, row in rows.items():
        reached = row.time_to_loss_s
        taken_s[name] = reached if reached is not None else runs[name].t_s[-1]
        said[name] = f"{name} {taken_s[name]:.1f} s" + ("" if reached is not None else " (not reached)")
    kimad_s = taken_s["kimad"] if rows["kimad"].time_to_loss_s is not None else NEVER
    notes = f"{said['ddp']}, {said['kimad']}; {point}", said["bf16"], said["fixed_topk"]
    return [
        Row("demo, time to loss, DDP / kimad", taken_s["ddp"] / kimad_s, "x", 3.5, "higher", notes[0]),
        Row("demo, time to loss, bf16 / kimad", taken_s["bf16"] / kimad_s, "x", 1.8, "higher", notes[1]),
        Row("demo, time to loss, kimad / fixed_topk", kimad_s / taken_s["fixed_topk"], "x", 1.05, "lower", notes[2]),
    ]

"""Run folders written by hand, whose figures are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kimad.launch.truth import HEADER, TruthRow
from kimad.record import LayerRecord, LinkRecord, StepRecord

START_S = 1000.0
CONFIG = {
    "command": "train.py --lr 0.1", "objective": "progress", "link": "const:100", "backend": "netns",
    "world_size": 2, "system": "Linux", "cores": 2, "torch": "2.13.0", "python": "3.11.7",
}  # fmt: skip
DENSE = (LayerRecord("a.weight", "bfloat16", 1.0, 2000), LayerRecord("<b>&.bias", "topk:log4", 0.5, 400))
SPARSE = (LayerRecord("a.weight", "topk:log4", 0.02, 90), LayerRecord("<b>&.bias", "drop", 0.0, 0))


def step(number: int, *, rate_bps: float | None = 1e8, sparse: bool = False) -> StepRecord:
    """One second a step: 0.6 s computing; 0.4 s encoding, 0.3 s wire, 0.1 s decoding, half of it hidden."""
    return StepRecord(
        step=number, time_s=START_S + number + 1, objective="progress", wire_bytes=100 if sparse else 2400,
        control_bytes=10, dense_bytes=8000, void=False, layers=SPARSE if sparse else DENSE,
        link=LinkRecord(
            rate_bps, rate_bps and 0.8 * rate_bps, 0.1, (rate_bps, None), 2400, 0.1,
            delivery_bps=rate_bps and 0.95 * rate_bps, min_rtt_s=0.02, repeated_segments=number % 2,
            outage_s=3.5 * (number == 7), other_bps=5e6,
        ),
        measured={"step_s": 1.0, "compute_s": 0.6, "wait_s": 0.4, "encode_s": 0.4, "wire_s": 0.3, "decode_s": 0.1,
                  "solve_s": 0.01},
        predicted={"step_s": 0.9, "compute_s": 0.6} if number else {},
    )  # fmt: skip


def write_run(
    folder: Path, steps: list[StepRecord], *, config: dict[str, Any] | None = None, ended: bool = True,
    losses: bool = True, truth: bool = True,
) -> Path:  # fmt: skip
    """Write a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config), encoding="utf-8")
    write_records(folder / "records.jsonl", steps)
    if ended:
        (folder / "summary.json").write_text('{"exit_code": 0, "cause": null}', encoding="utf-8")
    if losses:
        lines = [{"step": i + 1, "t_s": i + 1, "monotonic_s": START_S + i + 1, "loss": 2 - 0.01 * i} for i in range(30)]
        (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if truth:
        rows = [TruthRow(START_S + t, t, 100.0, 200.0) for t in (0.0, 5.0, 40.0)]
        (folder / "truth-host0.csv").write_text("\n".join([HEADER, *map(str, rows)]) + "\n", encoding="utf-8")
    return folder


def write_records(path: Path, steps: list[StepRecord]) -> None:
    """As a sink writes them."""
    path.write_text("".join(json.dumps(s.to_json()) + "\n" for s in steps), encoding="utf-8")


def adaptive() -> list[StepRecord]:
    """The link is unknown at first, and falls from 100 to 30 Mbit/s in step 9: from step 10 on, less is sent."""
    first = replace(step(0), link=LinkRecord())
    fast = [step(i) for i in range(1, 9)]
    return [first, *fast, step(9, rate_bps=3e7), *(step(i, rate_bps=3e7, sparse=True) for i in range(10, 20))]


def plain() -> list[dict[str, Any]]:
    """The lines of a run with objective off."""
    return [
        {"step": i, "time_s": START_S + i, "objective": "off", "wire_bytes": 8000, "dense_bytes": 8000,
         "measured": {"step_s": 1.0}}
        for i in range(5)
    ]  # fmt: skip

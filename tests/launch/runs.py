"""Run folders as a run leaves them, without a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from kimad.launch.truth import HEADER, TruthRow, truth_path

START_S = 5000.0  # t = 0 on the monotonic clock
STEP_S = 0.5
LAYERS = ("stem.weight", "body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "<b>head</b>")


def record(step: int, **changed: Any) -> dict[str, Any]:
    """One line of rank 0; the link goes up and down, and what is sent with it."""
    rate_bps = 180e6 + 150e6 * math.sin(step / 3)
    keeps = min(1.0, rate_bps / 250e6)
    fields: dict[str, Any] = {
        "step": step,
        "time_s": START_S + (step + 1) * STEP_S,
        "objective": "progress",
        "wire_bytes": int(4e6 * keeps),
        "control_bytes": 1000,
        "dense_bytes": 44_000_000,
        "void": False,
        "layers": [
            {"name": name, "codec": "int8" if keeps > 0.8 else "topk:log4", "density": keeps if i else 1.0,
             "frame_bytes": int(4e6 * keeps / len(LAYERS))}
            for i, name in enumerate(LAYERS)
        ],
        "link": {
            "mean_bps": 1.1 * rate_bps, "low_bps": 0.9 * rate_bps, "spread": 0.1,
            "samples_bps": [rate_bps, 1.2 * rate_bps], "bytes": 100_000, "busy_s": 0.01, "transfers": [],
        },
        "measured": {
            "step_s": STEP_S, "compute_s": 0.3, "wait_s": 0.2, "encode_s": 0.06, "wire_s": 0.1, "decode_s": 0.02,
            "solve_s": 0.003,
        },
        "predicted": {"step_s": 0.45, "compute_s": 0.3, "link_s": 0.1, "coding_s": 0.05, "error": 0.2},
        "residual_norm": 12.5,
        "gap": 0.01,
    }  # fmt: skip
    return fields | changed


def plain_record(step: int) -> dict[str, Any]:
    """One line of a run with objective `off`."""
    return {
        "step": step,
        "time_s": START_S + (step + 1) * STEP_S,
        "objective": "off",
        "wire_bytes": 44_000_000,
        "dense_bytes": 44_000_000,
        "measured": {"step_s": STEP_S},
    }


def write_records(folder: Path, records: list[dict[str, Any]]) -> None:
    """Append the lines, as the run does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "records.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in records)


def begin(folder: Path, objective: str = "progress", *, steps: int = 30) -> None:
    """A run that goes on, with emulated links and the losses of its script."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "description": f"2 ranks, objective {objective}, link sine:30,330,15 by netns",
        "command": "train.py --name '<script>alert(1)</script>'",
        "objective": objective,
        "link": "sine:30,330,15",
        "backend": "netns",
        "world_size": 2,
        "system": "Linux",
        "cores": 2,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "start.txt").write_text(f"{START_S}\n", encoding="utf-8")
    make = plain_record if objective == "off" else record
    write_records(folder, [make(step) for step in range(steps)])
    for host in range(2):
        rows = [
            TruthRow(START_S + t_s, t_s, rate, rate + host, 0, 0)
            for t_s in (0.1 * i for i in range(int(steps * STEP_S * 10)))
            for rate in (180 + 150 * math.sin(t_s / STEP_S / 3),)
        ]
        text = "".join(f"{row}\n" for row in rows)
        truth_path(folder, host).write_text(f"{HEADER}\n{text}", encoding="utf-8")
    losses = [
        {"step": i + 1, "t_s": i * STEP_S, "monotonic_s": START_S + (i + 1) * STEP_S, "step_s": STEP_S,
         "loss": 2.3 / (1 + i / 10)}
        for i in range(steps)
    ]  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(loss) + "\n" for loss in losses), encoding="utf-8")


def end(folder: Path, *, exit_code: int = 0, cause: str | None = None) -> None:
    """The run has ended."""
    (folder / "summary.json").write_text(json.dumps({"exit_code": exit_code, "cause": cause}), encoding="utf-8")

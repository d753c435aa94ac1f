"""How well the link is measured: each step's sample against the emulator's own account of the link."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.rows import NEVER, Row
from examples.resnet.runner import LINK, Plan, run
from kimad.launch.truth import read_rows, truth_path

MIN_BYTES, MIN_BUSY_S = 1e6, 0.05


def estimate_rows(steps: int) -> list[Row]:
    """Median relative error of the samples that 1 MB and 50 ms are behind; rank 0 as the receiver."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        run(Plan("estimate", "progress", "none", steps=steps, seconds=0, expected_s=0), place, lambda left_s: None)
        return rows_of(place, LINK)


def rows_of(place: Path, link: str) -> list[Row]:
    """The same of a run that there is."""
    records = [json.loads(line) for line in (place / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    truth = [(row.monotonic_s, row.up_mbps) for row in read_rows(truth_path(place, 1))]  # the sender's link
    errors = [error for record in records if (error := sample_error(record, truth)) is not None]
    share = f"{len(errors)} of {len(records)} steps have 1 MB and 50 ms; link {link}"
    value = 100 * statistics.median(errors) if errors else NEVER
    return [Row("link estimate, median error", value, "%", 15, "lower", share)]


def sample_error(record: dict[str, object], truth: list[tuple[float, float]]) -> float | None:
    """|sample / mean truth over its transfers - 1|; None for a step that is too small to measure the link."""
    link = record["link"]
    if not isinstance(link, dict) or not link["transfers"]:
        return None
    size, start, end = (np.array(column) for column in zip(*link["transfers"], strict=True))
    busy = end - start
    if size.sum() < MIN_BYTES or busy.sum() < MIN_BUSY_S:
        return None
    times, rates = (np.array(column) for column in zip(*truth, strict=True))
    moments = np.concatenate([np.linspace(a, b, 20) for a, b in zip(start, end, strict=True)])
    expected = np.average(np.interp(moments, times, rates), weights=np.repeat(busy, 20))
    measured = 8 * size.sum() / busy.sum() / 1e6
    return float(abs(measured / expected - 1))

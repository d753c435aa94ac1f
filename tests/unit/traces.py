"""Trace files for tests: golden ones with their means, and makers of formats that are only read."""

from __future__ import annotations

import itertools
from pathlib import Path

from kimad.trace import Steps
from kimad.trace.formats import FORMATS, Format
from kimad.trace.formats.csv import Csv
from tests.source import ROOT

FOLDER = ROOT / "tests" / "data" / "traces"
TABLE = Csv("When", "Speed", "kB/s")

# file -> its format, mean in bit/s and length in seconds, reckoned by hand
GOLDEN: dict[str, tuple[Format, float, float]] = {
    "native.trace": (FORMATS["native"], 400e6 / 30, 30),
    "mahimahi.mahi": (FORMATS["mahimahi"], 60_000, 1),
    "pensieve.txt": (FORMATS["pensieve"], 1_750_000, 4),
    "sabre.json": (FORMATS["sabre"], 1_625_000, 4),
    "hsdpa.log": (FORMATS["hsdpa"], 750_000, 4),
    "ghent.log": (FORMATS["ghent"], 15_000_000, 4),
    "table.csv": (TABLE, 5600e3, 5),
}
WRITABLE = [name for name in FORMATS if name not in ("hsdpa", "ghent")]


def golden(name: str) -> Path:
    """The path of a golden file."""
    return FOLDER / name


def made(name: str, steps: Steps) -> str:
    """A file of any format with these steps; of those with positions, one somewhere."""
    if name in WRITABLE:
        return FORMATS[name].write(steps)
    epoch = {"hsdpa": 1_300_000_000, "ghent": 1_449_000_000_000}[name]
    lines = []
    ends_ms = itertools.accumulate(steps.durations_s.tolist())
    for end_s, seconds, mbps in zip(ends_ms, steps.durations_s.tolist(), steps.rates_mbps.tolist(), strict=True):
        lines.append(f"{epoch} {end_s * 1000!r} 60.1 10.2 {mbps * seconds * 1e6 / 8!r} {seconds * 1000!r}")
    return "\n".join(lines)

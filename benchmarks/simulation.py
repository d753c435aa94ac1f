"""What simulating costs: the command, from start to end, as anybody runs it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row

ROOT = Path(__file__).resolve().parents[1]
FEW = ("--model", "resnet18", "--workers", "8", "--link", "sine:30,330,30")
MANY = ("--model", "resnet50", "--link", "walk:30,330,20", "--strategy", "kimad")
STEPS = 200
LIMIT_S = 600


def simulation_rows(quick: bool) -> list[Row]:
    """Seconds and memory of eight workers with every strategy, and of ten thousand with one."""
    workers = 1_000 if quick else 10_000
    few_s = min(timed([*FEW, "--steps", str(STEPS)]) for _ in range(1 if quick else 3))
    quarter_s = timed([*MANY, "--workers", str(workers // 4), "--steps", str(STEPS)])
    many_s = timed([*MANY, "--workers", str(workers), "--steps", str(STEPS)])
    memory_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    each = f"{workers // 4} workers {quarter_s:.1f} s, {workers} workers {many_s:.1f} s"
    return [
        Row("simulate, resnet18, 8 workers, all strategies", few_s, "s", 5, "lower", f"{STEPS} steps, start included"),
        Row(f"simulate, resnet50, {workers} workers", many_s, "s", 60, "lower", f"{STEPS} steps, start included"),
        Row("the same, largest memory", memory_gib, "GiB", 2, "lower"),
        Row("the same, four times the workers / time", many_s / quarter_s, "x", 4.4, "lower", each),
    ]


def timed(arguments: Sequence[str]) -> float:
    """Seconds of one `kimad simulate`."""
    start_s = time.monotonic()
    command = [sys.executable, "-m", "kimad.launch", "simulate", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start_s

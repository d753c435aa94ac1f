"""The simulator against the emulator: the same training, model, link and steps, once for real and once simulated.

Computing is profiled first, with as many ranks at once on this machine's cores as the emulated run has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from kimad.sim import Scenario, Workload, simulate
from kimad.trace import parse_link, parse_links

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "examples/resnet/train.py"
BATCH = "8"  # images a rank: little computing, so that most cells are bound by their links
LINKS = ("const:30", "const:100", "const:330", "sine:30,330,30")
STRATEGIES = ("ddp", "bf16", "topk:0.01", "kimad")
RANKS = (2, 4)
SKIP = 3  # first steps: connections are new, buckets are not final, and Kimad knows nothing yet
STEPS = 20  # compared, at least
PERIOD_S = 30.0  # of the sine, which a run of it lasts at least
PERIODS = 3  # where the link is the limit: of the 20 steps of one, those in the trough, two or three, would be the p95
PROFILED = 16
ENOUGH = 1000  # steps for a profile, which ends the script as soon as it has seen what it needs
LIMIT_S = 900.0


@final
@dataclass(frozen=True)
class Cell:
    """One comparison."""

    ranks: int
    link: str
    strategy: str

    @property
    def name(self) -> str:
        """For the row."""
        return f"{self.ranks} ranks, {self.link}, {self.strategy}"


def fidelity_rows(quick: bool) -> list[Row]:
    """Two rows a cell: mean and p95 of the step time, simulated / emulated - 1, absolute."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for ranks in RANKS[:1] if quick else RANKS:
            workload = profile(ranks, folder)
            links = LINKS[2:3] if quick else LINKS
            for cell in (Cell(ranks, link, s) for link in links for s in STRATEGIES):
                rows += compare(cell, workload, folder, steps=8 if quick else STEPS)
                print(rows[-2], rows[-1], sep="\n", file=sys.stderr, flush=True)
    return rows


def profile(ranks: int, folder: Path) -> Workload:
    """The training script's workload, measured with `ranks` ranks at once."""
    out, script = folder / f"resnet18-{ranks}.npz", training(ENOUGH, 0.0)
    call(["bench", "profile", "-n", str(ranks), "--steps", str(PROFILED), "--out", str(out), "--", *script])
    return Workload.load(out)


def compare(cell: Cell, workload: Workload, folder: Path, steps: int) -> list[Row]:
    """Emulate and simulate one cell, twice where links are no more than half of a step.

    Computing is then the limit, and this machine's speed changes from minute to minute: it is profiled before, between
    and after the two runs.
    """
    guess, wire_bytes = simulated_steps(cell, workload, steps)
    mean_bps = parse_link(cell.link).mean_mbps(0.0, PERIOD_S) * 1e6
    on_the_link = float(8 * wire_bytes / mean_bps / guess.mean())
    bound_by_link = on_the_link >= 0.5
    periods = (PERIODS if bound_by_link else 1) if cell.link.startswith("sine") and steps >= STEPS else 0
    profiles = [workload] if bound_by_link else [profile(cell.ranks, folder)]
    runs: list[Floats] = []
    for _ in range(1 if bound_by_link else 2):
        runs.append(emulate(cell, folder / "run", steps + SKIP, periods * PERIOD_S))
        if not bound_by_link:
            profiles.append(profile(cell.ranks, folder))
    emulated = np.concatenate(runs)
    simulated = np.concatenate([simulated_steps(cell, found, len(runs[0]))[0] for found in profiles])
    said = f"emulated {emulated.mean():.3f} s (p95 {p95_of(emulated):.3f}), simulated {simulated.mean():.3f}"
    said += f" ({p95_of(simulated):.3f}), {len(runs[0])} steps, link busy {on_the_link:.0%}"
    allowed = [10.0, 20.0]
    if not bound_by_link:
        first, again = runs
        said = f"bound by computing; {first.mean():.3f} and {again.mean():.3f} s; {said}"
        spreads = off(again.mean(), first.mean()), off(p95_of(again), p95_of(first))
        allowed = [max(bound, spread) for bound, spread in zip(allowed, spreads, strict=True)]
    mean, p95 = off(simulated.mean(), emulated.mean()), off(p95_of(simulated), p95_of(emulated))
    return [
        Row(f"{cell.name}: mean step, simulated / emulated - 1", mean, "%", allowed[0], "lower", said),
        Row(f"{cell.name}: p95", p95, "%", allowed[1], "lower"),
    ]


def simulated_steps(cell: Cell, workload: Workload, count: int) -> tuple[Floats, float]:
    """`count` step times in seconds after the first SKIP, and the mean bytes of such a step."""
    result = simulate(Scenario(workload, parse_links(cell.link, cell.ranks), steps=count + SKIP), cell.strategy)
    return result.step_s[SKIP:], float(result.wire_bytes[SKIP:].mean())


def emulate(cell: Cell, folder: Path, steps: int, seconds: float) -> Floats:
    """Step times in seconds after the first SKIP of a real run."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        path.unlink()
    strategy = f"fixed:{cell.strategy}" if cell.strategy.startswith("topk") else cell.strategy
    link = ["-n", str(cell.ranks), "--link", cell.link, "--backend", "netns", "--objective", strategy]
    call(["emulate", *link, "--out", str(folder), "--", *training(steps, seconds)])
    return np.array([record["measured"]["step_s"] for record in records(folder)])[SKIP:]


def records(folder: Path) -> Iterator[dict[str, dict[str, float]]]:
    """The records of a run."""
    for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def training(steps: int, seconds: float) -> list[str]:
    """The script and its arguments."""
    return [SCRIPT, "--steps", str(steps), "--seconds", str(seconds), "--batch", BATCH]


def call(arguments: Sequence[str]) -> None:
    """Run a command of Kimad to its end. Raises RuntimeError, with the end of what it printed, if it fails."""
    command = [sys.executable, "-m", "kimad.launch", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def p95_of(step_s: Floats) -> float:
    """95 % of the steps take no longer."""
    return float(np.quantile(step_s, 0.95))


def off(value: float, wanted: float) -> float:
    """Relative difference in per cent."""
    return 100 * abs(float(value) / float(wanted) - 1)

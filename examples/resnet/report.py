"""What the runs' folders say: the rows of the summary, the table and the plot."""

from __future__ import annotations

import bisect
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kimad.launch.truth import TruthRow, read_rows

LOSS_WINDOW_STEPS = 10  # the loss of a run is the mean over ranks and over so many latest steps
TRUTH_FILE = "truth-host0.csv"  # the link of rank 0's host as the emulator saw it
LOG_FILE = "steps.jsonl"  # the training script's own log


@dataclass(frozen=True)
class Run:
    """One finished run, read from its folder; the sequences of a step each have the same length."""

    name: str
    t_s: tuple[float, ...]  # end of each step, since training started
    monotonic_s: tuple[float, ...]  # the same on the machine's clock
    step_s: tuple[float, ...]  # duration of each step
    loss: tuple[float, ...]  # mean over ranks
    link: tuple[TruthRow, ...]  # rank 0's link during the run


@dataclass(frozen=True)
class Row:
    """One run in the summary."""

    name: str
    mean_step_s: float
    p95_step_s: float
    wire_bytes_per_step: float  # that rank 0's link carried, whatever sent them
    final_loss: float
    time_to_loss_s: float | None  # first time at or below the first run's final loss; None: never


def read_run(folder: Path, name: str) -> Run:
    """Read a run's log of steps and its account of the link."""
    with (folder / LOG_FILE).open(encoding="utf-8") as file:
        steps = [json.loads(line) for line in file]
    if not steps:
        raise ValueError(f"{folder / LOG_FILE} holds no step")
    return Run(
        name=name,
        t_s=tuple(step["t_s"] for step in steps),
        monotonic_s=tuple(step["monotonic_s"] for step in steps),
        step_s=tuple(step["step_s"] for step in steps),
        loss=tuple(step["loss"] for step in steps),
        link=tuple(read_rows(folder / TRUTH_FILE)),
    )


def running_mean(values: Sequence[float], window: int = LOSS_WINDOW_STEPS) -> list[float | None]:
    """Mean of the latest ``window`` values at each position; None until there are so many.

    Example:
        >>> running_mean([3.0, 1.0, 5.0], window=2)
        [None, 2.0, 3.0]
    """
    return [None if end < window else statistics.fmean(values[end - window : end]) for end in range(1, len(values) + 1)]


def final_loss(run: Run) -> float:
    """The loss at the run's end: of all its steps, if it has fewer than the window."""
    return statistics.fmean(run.loss[-LOSS_WINDOW_STEPS:])


def time_to_loss(run: Run, target: float) -> float | None:
    """Seconds of training until the running mean is at or below the target; None if it never is."""
    for t_s, loss in zip(run.t_s, running_mean(run.loss), strict=True):
        if loss is not None and loss <= target:
            return t_s
    return None


def percentile_95(values: Sequence[float]) -> float:
    """The 95th percentile by linear interpolation."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def summarise(runs: Sequence[Run]) -> list[Row]:
    """One row a run; the target is the first run's loss at its end."""
    target = final_loss(runs[0])
    return [
        Row(
            name=run.name,
            mean_step_s=statistics.fmean(run.step_s),
            p95_step_s=percentile_95(run.step_s),
            wire_bytes_per_step=wire_bytes(run) / len(run.step_s),
            final_loss=final_loss(run),
            time_to_loss_s=time_to_loss(run, target),
        )
        for run in runs
    ]


def wire_bytes(run: Run) -> int:
    """Bytes that rank 0's link carried up in the whole run."""
    return max((row.up_bytes or 0 for row in run.link), default=0)


@dataclass(frozen=True)
class OperatingPoint:
    """Where a comparison was made: at a rho far below 1 nobody can win, far above it everybody does."""

    dense_s: float  # that the float32 gradient takes at the link's mean rate
    compute_s: float  # of a step, the median

    @property
    def rho(self) -> float:
        """Seconds of sending per second of computing."""
        return self.dense_s / self.compute_s

    def __str__(self) -> str:
        times = f"dense gradient {self.dense_s:.2f} s at the mean rate, computing {self.compute_s:.2f} s"
        return f"{times}: rho = {self.rho:.1f}"


def operating_point(records: Path, mean_mbps: float) -> OperatingPoint:
    """Read off the records of an adaptive run, which say when the last gradient of each step was ready."""
    steps = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    compute_s = statistics.median(step["measured"]["compute_s"] for step in steps)
    return OperatingPoint(8 * steps[-1]["dense_bytes"] / (mean_mbps * 1e6), compute_s)


def as_json(rows: Sequence[Row]) -> str:
    """The summary's text."""
    return json.dumps([asdict(row) for row in rows], indent=2) + "\n"


def table(rows: Sequence[Row]) -> str:
    """The same rows for people."""
    target = rows[0].final_loss
    time_title = f"time to loss {target:.3f}"
    lines = [f"{'run':<12}{'step mean':>11}{'step p95':>11}{'MB a step':>11}{'final loss':>12}{time_title:>22}"]
    for row in rows:
        reached = "not reached" if row.time_to_loss_s is None else f"{row.time_to_loss_s:.0f} s"
        lines.append(
            f"{row.name:<12}{row.mean_step_s:>9.2f} s{row.p95_step_s:>9.2f} s"
            f"{row.wire_bytes_per_step / 1e6:>11.2f}{row.final_loss:>12.3f}{reached:>22}"
        )
    return "\n".join(lines)


def bytes_per_step(run: Run) -> list[float]:
    """Bytes carried between the end of one step and the end of the next, on rank 0's link."""
    times_s = [row.monotonic_s for row in run.link]
    totals = [float(row.up_bytes or 0) for row in run.link]
    at_ends = [interpolate(end_s, times_s, totals) for end_s in run.monotonic_s]
    starts = [interpolate(run.monotonic_s[0] - run.step_s[0], times_s, totals), *at_ends[:-1]]
    return [end - start for start, end in zip(starts, at_ends, strict=True)]


def interpolate(at: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The piecewise linear function through (xs, ys), constant outside; xs ascend."""
    if not xs:
        return 0.0
    right = bisect.bisect_right(xs, at)
    if right == 0:
        return ys[0]
    if right == len(xs):
        return ys[-1]
    left_x, right_x = xs[right - 1], xs[right]
    return ys[right - 1] + (ys[right] - ys[right - 1]) * (at - left_x) / (right_x - left_x)

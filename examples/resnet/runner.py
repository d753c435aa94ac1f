"""One training run at a time on the emulated link, as a child process that never outlives the demo."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.resnet.report import LOG_FILE, TRUTH_FILE
from kimad.trace import parse_link

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/resnet/train.py"
WORKERS = 2
BATCH = 56  # images a rank: with it computing takes about 0.4 s a step
SEED = 2  # of the model and the data; plain DDP's loss falls steadily with it
LINK = "sine:30,330,15"  # Mbit/s, Mbit/s, seconds
MEAN_MBPS = parse_link(LINK).mean_mbps(0.0, 15.0)  # of one period
RUN_LIMIT_S = 900.0  # a run that lasts longer hangs
GRACE_S = 15.0  # for a child to take its workers and its network down
POLL_S = 0.5
OUTPUT_LINES = 15  # of a failed run are shown


@dataclass(frozen=True)
class Plan:
    """One way of training."""

    name: str
    objective: str  # for Kimad; "off" is plain DDP
    comm: str  # the script's own choice: "none", or torch's "bf16"
    steps: int  # at least
    seconds: float  # at least
    expected_s: float  # for the time that is left; start-up included
    link: str = LINK
    batch: int = BATCH


class RunError(Exception):
    """A run ended with an error; the text says which, and shows the end of what it printed."""


def command(plan: Plan, folder: Path) -> list[str]:
    """The command line: the program that anybody would type."""
    return [
        *(sys.executable, "-m", "kimad.launch", "emulate", "-n", str(WORKERS), "--link", plan.link),
        *("--backend", "pace"),  # works everywhere, so that everybody gets the same figures
        *("--objective", plan.objective, "--out", str(folder), "--", SCRIPT),
        *("--steps", str(plan.steps), "--seconds", str(plan.seconds), "--comm", plan.comm),
        *("--seed", str(SEED), "--batch", str(plan.batch)),
        *("--log-file", str(folder / LOG_FILE), "--check-ranks"),
    ]


def run(plan: Plan, folder: Path, progress: Callable[[float], None]) -> None:
    """Run the plan to its end, and call ``progress`` with the seconds that are left of it now and then.

    Raises:
        RunError: the run ended with an error, or not at all.
    """
    if (folder / LOG_FILE).is_file() or (folder / TRUTH_FILE).is_file():
        shutil.rmtree(folder)  # of an earlier demo; the launcher takes no folder that holds a run
    output = folder.parent / f"{folder.name}.log"
    deadline_s = time.monotonic() + RUN_LIMIT_S
    start_s = time.monotonic()
    with output.open("wb") as file, child(command(plan, folder), file.fileno()) as process:
        while process.poll() is None:
            if time.monotonic() > deadline_s:
                raise RunError(f"{plan.name} did not end within {RUN_LIMIT_S:.0f} s{tail(output)}")
            progress(left_s(plan, folder / LOG_FILE, time.monotonic() - start_s))
            time.sleep(POLL_S)
    if process.returncode:
        raise RunError(f"{plan.name} ended with exit code {process.returncode}{tail(output)}")
    for needed in (folder / LOG_FILE, folder / TRUTH_FILE):
        if not needed.is_file():
            raise RunError(f"{plan.name} wrote no {needed}{tail(output)}")


@contextmanager
def child(arguments: list[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own session: asked to end, then killed with its group, if the body is left before it ends."""
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def left_s(plan: Plan, log: Path, elapsed_s: float) -> float:
    """Seconds left of a run: from the pace of its log, or from the plan while there is none."""
    done = log.read_bytes().count(b"\n") if log.is_file() else 0
    if not done:
        return max(0.0, plan.expected_s - elapsed_s)
    by_steps_s = (plan.steps - done) * elapsed_s / done
    return max(0.0, by_steps_s, plan.seconds - elapsed_s)


def tail(output: Path) -> str:
    """The last lines of what a run printed, and where the rest is."""
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-OUTPUT_LINES:]
    return "\n".join([f"; the end of {output}:", *lines])

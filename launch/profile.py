"""`kimad bench profile`: what the simulator needs to know of a training script, measured on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from kimad.launch import arguments
from kimad.launch.errors import UsageError
from kimad.launch.folder import make_job, usable_cores
from kimad.launch.job import WORKLOAD_NAME
from kimad.launch.process import note
from kimad.launch.run import execute
from kimad.launch.stdout import stdout_to_stderr
from kimad.sim import Workload

COMMAND = "bench profile"
MIN_STEPS, MAX_STEPS = 3, 10_000


@click.command(
    "profile",
    context_settings={"allow_interspersed_args": False},
    help="Run SCRIPT ARGS on this machine for some steps, and write what `kimad simulate --model FILE` needs. "
    "What the script prints goes to stderr.",
)
@click.option("-n", "--ranks", type=click.IntRange(2, 1024), default=2, show_default=True, help="processes")
@click.option(
    "--steps",
    type=click.IntRange(MIN_STEPS, MAX_STEPS),
    default=16,
    show_default=True,
    help="measured; three come before",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path(WORKLOAD_NAME), show_default=True,
    help="file that is written",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print the figures as JSON and nothing else")
@click.option("-m", "--module", is_flag=True, help="SCRIPT is the name of a module")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def command(ranks: int, steps: int, out: Path, as_json: bool, module: bool, program: Sequence[str]) -> int:
    """Measure and print."""
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        raise UsageError(f"--out {str(out)!r} is in no folder that can be written to; give another file")
    with tempfile.TemporaryDirectory(prefix="kimad-") as name:
        workload, exit_code = _measure(ranks, steps, Path(name) / "run", module, program)
        if workload is None:
            return exit_code
        workload = replace(workload, name=Path(program[0]).stem)
        workload.save(out)
    figures = describe(workload)
    click.echo(json.dumps({"file": str(out), **figures}, indent=1) if as_json else table(figures))
    note(COMMAND, f"written to {out}: kimad simulate --model {out}")
    return 0


def _measure(ranks: int, steps: int, folder: Path, module: bool, program: Sequence[str]) -> tuple[Workload | None, int]:
    parser = arguments.make_parser("bench profile")
    mode = ["-m"] if module else []
    args: argparse.Namespace = parser.parse_args(
        ["--standalone", "--nproc-per-node", str(ranks), "--objective", "off", "--out", str(folder), *mode, *program]
    )
    arguments.check(args)
    args.local_addr = "127.0.0.1"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    job = replace(make_job(args), profile_steps=steps)
    with stdout_to_stderr():
        outcome = execute(COMMAND, args, job)
    found = folder / WORKLOAD_NAME
    if found.is_file() and outcome.ending.exit_code == 0:
        workload = Workload.load(found)
        if any(samples.any() for samples in workload.gradients):
            return replace(workload, note=f"{ranks} ranks on {usable_cores()} cores"), 0
        note(COMMAND, "no step had a gradient that was finite and not zero; nothing is written")
    elif outcome.ending.exit_code == 0 and any(report.attached for report in outcome.reports.values()):
        from kimad.launch.profiler import ALL_STEPS, CODING_STEPS, ENDED_STEPS, SETTLING_STEPS

        needed = ALL_STEPS + steps + 1
        parts = f"{SETTLING_STEPS} until DDP has settled, {steps} measured, {CODING_STEPS} with coding, {ENDED_STEPS} "
        parts += "with all that ends a step, and one forward"
        note(COMMAND, f"the script ended too early: it must train for {needed} steps or more ({parts})")
    shutil.rmtree(folder, ignore_errors=True)
    return None, outcome.ending.exit_code or 1


def describe(workload: Workload) -> dict[str, object]:
    """Figures for people."""
    compute_s = workload.ready_s[:, :, -1]
    return {
        "layers": len(workload.layers),
        "parameters": sum(layer.numel for layer in workload.layers),
        "measured_on": workload.note,
        "compute_s": float(compute_s.mean()),
        "compute_p95_s": float(np.quantile(compute_s, 0.95)),
        "buckets": [
            {
                "layers": len(bucket),
                "bytes": sum(workload.layers[i].nbytes for i in bucket),
                "ready_s": float(workload.ready_s[:, :, b].mean()),
            }
            for b, bucket in enumerate(workload.buckets)
        ],
        "coding": dict(workload.coding),
        "overhead_s": dict(workload.overhead_s),
    }


def table(figures: dict[str, object]) -> str:
    """The same as text."""
    lines = [
        f"{figures['layers']} layers, {figures['parameters']:,} parameters; {figures['measured_on']}",
        f"computing a step: {figures['compute_s']:.3g} s, 95 % within {figures['compute_p95_s']:.3g} s",
    ]
    buckets = figures["buckets"]
    for b, bucket in enumerate(buckets if isinstance(buckets, list) else []):
        size_mb = bucket["bytes"] / 1e6
        lines.append(f"bucket {b}: {bucket['layers']} layers, {size_mb:.1f} MB, ready at {bucket['ready_s']:.3g} s")
    coding = figures["coding"]
    text = ", ".join(f"{k} {v:.2f}" for k, v in coding.items()) if isinstance(coding, dict) else ""
    lines.append(f"coding, measured / expected: {text}")
    overhead = figures["overhead_s"]
    text = ", ".join(f"{k} {1e3 * v:.1f}" for k, v in overhead.items()) if isinstance(overhead, dict) else ""
    lines.append(f"beside coding, ms a step: {text}")
    return "\n".join(lines)

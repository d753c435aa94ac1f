"""The run folder: where a run leaves what it found; a temporary one where nobody asked for it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import kimad
from kimad.launch.backends.backend import ShapingReport
from kimad.launch.errors import UsageError
from kimad.launch.job import SUMMARY_NAME, Job
from kimad.launch.process import Ending
from kimad.launch.rank_report import RankReport
from kimad.launch.summary import Summary


def check_out_folder(out: Path) -> None:
    """Raise UsageError if a folder could not be made and written there: before time is spent on what goes into it."""
    above = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not above.is_dir():
        raise UsageError(f"--out {str(out)!r} cannot be made: {str(above)!r} is a file; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"--out {str(out)!r} cannot be written; give another folder")


@contextmanager
def out_folder(out: Path) -> Iterator[None]:
    """Make the folder; what cannot be written into it is a UsageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"--out {str(out)!r} cannot be written: {error.strerror}; give another folder") from error


@contextmanager
def run_folder(out: Path | None) -> Iterator[Path]:
    """The folder, made if need be. Without `out` it is gone afterwards. Raises UsageError if it cannot be made."""
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {str(out)!r} cannot be made: {error.strerror}; give another folder") from error
        yield out.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="kimad-") as folder:
            yield Path(folder)


def make_job(args: argparse.Namespace) -> Job:
    """The job that a checked command line describes, on the real network."""
    from torch.distributed.run import determine_local_world_size, parse_min_max_nnodes

    low, high = parse_min_max_nnodes(args.nnodes)
    ranks = low * determine_local_world_size(args.nproc_per_node)
    return Job(
        objective=args.objective,
        script=args.training_script,
        module=bool(args.module),
        arguments=tuple(args.training_script_args),
        world_size=ranks if low == high else None,
        dense=tuple(args.dense),
        weight=tuple(args.weight),
    )


def describe(job: Job) -> dict[str, Any]:
    """What one wants to know later about how a run was made."""
    program = ["-m", job.script] if job.module else [job.script]
    where = f"link {job.link} by {job.backend}" if job.link else "the real network"
    emulated = ("hosts", "procs_per_host", "queue_ms", "latency_ms", "loss_percent", "replay_s")
    own = job.backend in ("netns", "userns")  # hosts with a choice of their own
    return {
        "description": f"{job.world_size or 'some'} ranks, objective {job.objective}, {where}",
        "command": shlex.join([*program, *job.arguments]),
        "objective": job.objective,
        "link": job.link,
        "backend": job.backend,
        **({name: getattr(job, name) for name in emulated} if job.backend else {}),
        "world_size": job.world_size,
        "kimad": kimad.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": usable_cores(),
        "congestion_control": job.congestion_control if own else _congestion_control(),
    }


def write_summary(
    folder: Path,
    ending: Ending,
    summary: Summary | None,
    reports: dict[int, RankReport],
    links: dict[str, ShapingReport],
) -> None:
    """Write `summary.json`."""
    figures: dict[str, Any] = {"exit_code": ending.exit_code, "cause": ending.cause}
    if summary is not None:
        figures |= asdict(summary)
        figures |= {"compression_factor": summary.compression_factor, "verdict": summary.verdict}
    figures["ddp_models"] = max((r.ddp_models for r in reports.values()), default=0)
    figures["attached"] = max((r.attached for r in reports.values()), default=0)
    figures["shaping"] = {str(rank): asdict(r.shaping) for rank, r in reports.items() if r.shaping is not None}
    figures["links"] = {name: asdict(report) for name, report in links.items()}
    (folder / SUMMARY_NAME).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _congestion_control() -> str | None:
    """TCP's, of new connections; None where the system does not say."""
    path = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return path.read_text(encoding="ascii").strip() if path.is_file() else None


def usable_cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1

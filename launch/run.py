"""`kimad run`: torchrun, with Kimad attached to every DDP model of the script."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import click

from kimad.launch import arguments
from kimad.launch.backends.backend import Network, NoNetwork
from kimad.launch.folder import describe, make_job, run_folder, write_summary
from kimad.launch.job import RECORDS_NAME, Job
from kimad.launch.passthrough import Passthrough
from kimad.launch.process import Ending, note, run_workers
from kimad.launch.rank_report import RankReport, read_reports
from kimad.launch.summary import Summary, read_records


@click.command("run", cls=Passthrough, add_help_option=False)
def command(argv: Sequence[str]) -> int:
    """Run a script as torchrun does, with Kimad attached to every DDP model."""
    return run(argv)


def run(argv: Sequence[str]) -> int:
    """Run a script; returns the exit code.

    Raises:
        UsageError, ConfigError: bad input; nothing was created.
    """
    args = arguments.make_parser("run").parse_args(argv)
    arguments.check(args)
    outcome = execute("run", args, make_job(args))
    conclude("run", outcome)
    return outcome.ending.exit_code


@final
@dataclass(frozen=True)
class Outcome:
    """What is known after a run."""

    ending: Ending
    reports: dict[int, RankReport]  # by rank
    summary: Summary | None  # None: no step was recorded


def execute(command: str, args: argparse.Namespace, job: Job, network: Network | None = None) -> Outcome:
    """Run a checked job to its end, in a network if there is one, and write the summary; notes what went wrong."""
    if job.world_size is None or job.world_size > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # torchrun's default, without its five lines of warning
    network = network or NoNetwork()
    with run_folder(args.out) as folder:
        config = job.write(folder, describe(job))
        ending = run_workers(args, config, network)
        reports = read_reports(folder)
        summary = read_records(folder / RECORDS_NAME)
        write_summary(folder, ending, summary, reports, network.reports())
    if ending.cause is not None:
        note(command, ending.cause)
    if job.attach:
        _explain(command, reports)
    return Outcome(ending, reports, summary)


def conclude(command: str, outcome: Outcome) -> None:
    """The last line."""
    if outcome.summary is not None:
        note(command, outcome.summary.line)


def _explain(command: str, reports: dict[int, RankReport]) -> None:
    if not reports:
        return
    if all(report.ddp_models == 0 for report in reports.values()):
        note(
            command,
            "the script made no DistributedDataParallel model in the processes started here, so Kimad did nothing"
            " (processes that the script spawns itself are not reached: call kimad.attach in them)",
        )
    elif all(report.world_size == 1 for report in reports.values()):
        note(command, "world size 1: nothing to exchange, Kimad did nothing; give --nproc-per-node for more ranks")
    elif all(report.attached == 0 for report in reports.values()):
        note(command, "Kimad was attached to no model; the reason, if there is one, stands above")

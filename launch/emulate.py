"""`kimad emulate`: the real program on a shaped network, on this machine alone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import click

from kimad import Off, parse_objective
from kimad.launch import arguments, signals
from kimad.launch.backends.backend import ShapingReport
from kimad.launch.backends.registry import AUTO, BACKENDS, choose
from kimad.launch.folder import make_job, usable_cores
from kimad.launch.job import Job
from kimad.launch.links import SEPARATOR
from kimad.launch.passthrough import Passthrough
from kimad.launch.process import note
from kimad.launch.rank_report import RankReport
from kimad.launch.run import Outcome, conclude, execute
from kimad.launch.summary import size
from kimad.launch.testbed import userns
from kimad.launch.upkeep import upkeep
from kimad.launch.workplace import PARENT_VARIABLE, marker

_SHOWN = 8  # lines on links or ranks that kept to the trace; those that did not are all shown


@click.command("emulate", cls=Passthrough, add_help_option=False)
def command(argv: Sequence[str]) -> int:
    """Run a script on a shaped network, on this machine alone."""
    with signals.raised():  # a probe makes namespaces too
        try:
            return emulate(argv)
        except KeyboardInterrupt as signalled:
            note("emulate", f"ended by {signals.name(signalled)}")
            return 128 + signals.number(signalled)


def emulate(argv: Sequence[str]) -> int:
    """Run a script on N hosts of this machine, each behind its link; returns the exit code.

    Raises:
        UsageError, ConfigError, LinkError: bad input; nothing was created.
    """
    if argv and {*argv} <= {*arguments.ALONE, "--json"}:
        return upkeep(argv)
    parser = arguments.make_parser("emulate")
    arguments.add_emulation(parser, list(BACKENDS))
    args = parser.parse_args(argv)
    job = settle("emulate", args, ["emulate", *argv])
    outcome, kept = execute_emulated("emulate", args, job)
    conclude("emulate", outcome)
    return outcome.ending.exit_code or (0 if kept else 1)


def settle(command: str, args: argparse.Namespace, argv: Sequence[str], *, attach: bool = True) -> Job:
    """Check everything, choose the backend, say what it leaves out, and go where it works: as `kimad ARGV`, once more.

    attach: as in Job.

    Raises:
        UsageError, ConfigError, LinkError: bad input; nothing was created.
    """
    arguments.check_emulation(args, list(BACKENDS))
    args.nproc_per_node = str(args.hosts * args.procs_per_host)
    arguments.check(args)
    job = replace(
        make_job(args),
        link=SEPARATOR.join(args.link),
        hosts=args.hosts,
        procs_per_host=args.procs_per_host,
        queue_ms=args.queue_ms,
        latency_ms=args.latency_ms,
        loss_percent=args.loss_percent,
        replay_s=args.replay_s,
        congestion_control=args.congestion_control,
        attach=attach,
    )
    moved = userns.is_inside()
    choice = choose("userns" if moved and args.backend == AUTO else args.backend, job)
    backend = choice.backend
    job = replace(job, backend=backend.name)
    if moved:
        return job
    for name, reason in choice.passed_over.items():
        note(command, f"backend {name} is not taken: {reason}")
    note(command, f"link {job.link} by backend {backend.name}: {backend.summary}")
    note(command, f"not modelled: {backend.not_modelled(job)}")
    if attach and backend.through_kimad and isinstance(parse_objective(job.objective), Off):
        note(command, "plain DDP goes through Kimad's exchange, as fixed:float32: the same arithmetic, bit for bit")
    if usable_cores() < (job.world_size or 1):
        few = f"{job.world_size} ranks share {usable_cores()} cores"
        note(command, f"{few}: steps take longer than on as many machines")
    backend.move(list(argv))
    return job


def execute_emulated(command: str, args: argparse.Namespace, job: Job) -> tuple[Outcome, bool]:
    """Run a settled job in its network; notes what the links did. The second: whether they were shaped as asked."""
    backend = BACKENDS[job.backend or ""]
    args.standalone = True
    args.local_addr = args.local_addr or "127.0.0.1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ[PARENT_VARIABLE] = marker()
    network = backend.network(job)
    outcome = execute(command, args, job, network)
    kept = _verify(outcome, network.reports(), backend.nothing, command)
    for failure in network.failures():
        note(command, f"error: {failure}")
        kept = False
    return outcome, kept


@final
@dataclass(frozen=True)
class _Verdict:
    """On one link, or one rank's shaping."""

    shaped: bool  # as asked
    kept: bool  # to its trace
    text: str  # for people; empty: nothing to say


def _verify(outcome: Outcome, links: dict[str, ShapingReport], nothing: str, command: str = "emulate") -> bool:
    """Print what the links did; False where one was not shaped as asked."""
    ranks = {f"rank {report.rank}": report for _, report in sorted(outcome.reports.items())}
    if all(report.ddp_models == 0 or report.world_size == 1 for report in ranks.values()):
        return True  # nothing to shape; there is a note on it already
    if links:
        found = [_judge(name, report) for name, report in links.items()]
    else:
        found = [_judge_rank(name, report, nothing) for name, report in ranks.items()]
    well = [one.text for one in found if one.shaped and one.kept and one.text]
    for text in [*(one.text for one in found if not (one.shaped and one.kept)), *well[:_SHOWN]]:
        note(command, text)
    if len(well) > _SHOWN:
        note(command, f"{len(well) - _SHOWN} more kept to the trace")
    return all(one.shaped for one in found)


def _judge_rank(who: str, report: RankReport, nothing: str) -> _Verdict:
    if report.ddp_models == 0 or report.world_size == 1:
        return _Verdict(True, True, "")
    if report.shaping is None:
        return _Verdict(report.ended, False, f"{who}: no report on the link, the process ended early")
    if report.shaping.sockets == 0 and report.shaping.failure is None:
        return _Verdict(False, False, f"{who}: error: nothing was shaped: {nothing}")
    return _judge(who, report.shaping)


def _judge(who: str, shaping: ShapingReport) -> _Verdict:
    if shaping.failure is not None:
        return _Verdict(False, False, f"{who}: error: shaping ended early: {shaping.failure}")
    if shaping.worst_allowed_bytes == 0:
        return _Verdict(True, True, f"{who}: sent {size(shaping.sent_bytes)} in {shaping.seconds:.1f} s")
    kept = shaping.worst_sent_bytes <= shaping.worst_allowed_bytes
    over = f" over {shaping.sockets} sockets" if shaping.sockets else ""
    cost = f"; shaping took {shaping.cpu_share:.1%} of a core" if shaping.cpu_share else ""
    text = (
        f"{who}: sent {size(shaping.sent_bytes)}{over} in {shaping.seconds:.1f} s;"
        f" {'kept to the trace' if kept else 'FASTER THAN THE TRACE'}:"
        f" worst second, at {shaping.worst_start_s:.1f} s, {size(shaping.worst_sent_bytes)} of"
        f" {size(shaping.worst_allowed_bytes)} allowed{cost}"
    )
    return _Verdict(True, kept, text)

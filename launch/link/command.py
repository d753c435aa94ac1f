"""`kimad bench link`: bandwidth and latency between ranks, on the real network or on an emulated one."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kimad.files import replacing
from kimad.launch import arguments, signals
from kimad.launch.backends.registry import BACKENDS
from kimad.launch.codecs import markdown
from kimad.launch.columns import columns
from kimad.launch.emulate import execute_emulated, settle
from kimad.launch.errors import UsageError
from kimad.launch.folder import check_out_folder, make_job, out_folder
from kimad.launch.job import Job
from kimad.launch.link.result import Result
from kimad.launch.passthrough import Passthrough
from kimad.launch.process import note
from kimad.launch.run import execute
from kimad.launch.stdout import stdout_to_stderr

COMMAND = "bench link"
PROGRAM = "kimad.launch.link.program"
RESULT_NAME = "link.json"
MIN_SECONDS, MAX_SECONDS = 0.05, 60.0
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 1.0, 3600.0
PAIRS = ("auto", "all", "ring")


@click.command("link", cls=Passthrough, add_help_option=False,
               short_help="Bandwidth and latency between ranks, on one machine or several.")  # fmt: skip
def command(argv: Sequence[str]) -> int:
    """Measure the links between ranks, started as torchrun starts them."""
    with signals.raised():
        try:
            return measure(argv)
        except KeyboardInterrupt as signalled:
            note(COMMAND, f"ended by {signals.name(signalled)}")
            return 128 + signals.number(signalled)


def measure(argv: Sequence[str]) -> int:
    """Run the ranks, and print what they found; returns the exit code.

    Raises:
        UsageError, LinkError: bad input; nothing was created.
    """
    args = _parse(argv)
    emulated = args.link is not None
    if emulated:
        _need_two(args.hosts * args.procs_per_host)
        job = settle(COMMAND, args, ["bench", "link", *argv], attach=False)
    else:
        job = _real(args)
        _need_two(job.world_size or 2)
    kept = True
    with tempfile.TemporaryDirectory(prefix="kimad-") as name:
        args.out = Path(name) / "run"
        found = Path(name) / RESULT_NAME
        args.training_script_args = [f"{args.seconds:g}", f"{args.timeout:g}", args.pairs, str(found)]
        job = replace(job, arguments=tuple(args.training_script_args))
        with stdout_to_stderr():  # gloo prints its connections in some versions of torch
            if emulated:
                outcome, kept = execute_emulated(COMMAND, args, job)
            else:
                outcome = execute(COMMAND, args, job)
        if outcome.ending.exit_code:
            return outcome.ending.exit_code
        if not found.is_file():
            note(COMMAND, "rank 0 is on another machine, where the figures are printed")
            return 0
        result = Result.from_json(json.loads(found.read_text(encoding="utf-8")))
    _show(args, {**result.to_json(), "link": args.link, "backend": job.backend}, result)
    return 0 if kept else 1


def _need_two(ranks: int) -> None:
    if ranks < 2:
        raise UsageError(f"{ranks} rank is asked for; a link needs 2 or more, give -n, or more --nnodes")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = arguments.torchrun_parser(
        COMMAND, "All options of torchrun hold, but no script is given. With --link the network is emulated."
    )
    group = parser.add_argument_group("Measuring")
    group.add_argument("--seconds", type=float, default=1.0, metavar="S", help="for each figure (1)")
    group.add_argument("--timeout", type=float, default=30.0, metavar="S", help="until a peer counts as lost (30)")
    group.add_argument("--pairs", choices=PAIRS, default="auto", help="which ranks (auto: all of up to 4, or a ring)")
    group.add_argument("--json", dest="as_json", action="store_true", help="print the figures as JSON, nothing else")
    group.add_argument("--out", dest="report", type=Path, metavar="DIR", help=f"write {RESULT_NAME} and link.md")
    arguments.add_emulation(parser, list(BACKENDS), always=False)
    args = parser.parse_args([*argv, "-m", PROGRAM])
    if args.training_script != PROGRAM:
        raise UsageError(f"{args.training_script!r} is given; {COMMAND} takes options alone, it runs no script")
    for option, value, low, high in (
        ("--seconds", args.seconds, MIN_SECONDS, MAX_SECONDS),
        ("--timeout", args.timeout, MIN_TIMEOUT_S, MAX_TIMEOUT_S),
    ):
        if not low <= value <= high:
            raise UsageError(f"{option} is {value:g}; allowed: {low:g} to {high:g} seconds")
    if args.report is not None:
        check_out_folder(args.report)
    args.objective, args.out, args.dense, args.weight = "off", None, [], []
    if args.link is None:
        for name in arguments.NETWORK:
            if getattr(args, name) != parser.get_default(name):
                raise UsageError(f"--{name.replace('_', '-')} is given without --link; it is for an emulated network")
    elif args.hosts is None:
        args.hosts = 2
    return args


def _real(args: argparse.Namespace) -> Job:
    """Ranks on the real network: -n of them on this machine, 2 where it is the only one."""
    alone = args.nnodes in ("1", "1:1")
    if args.hosts is not None and args.nproc_per_node not in ("1", str(args.hosts)):
        raise UsageError(f"--nproc-per-node is {args.nproc_per_node}, -n is {args.hosts}; give one of them")
    if args.hosts is not None:
        args.nproc_per_node = str(args.hosts)
    elif alone and args.nproc_per_node == "1":
        args.nproc_per_node = "2"
    arguments.check(args)
    if alone and not args.rdzv_endpoint:
        args.standalone = True
        args.local_addr = args.local_addr or "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return replace(make_job(args), attach=False)


def _show(args: argparse.Namespace, figures: dict[str, Any], result: Result) -> None:
    title, verdict = result.lines()
    cells = result.table()
    if args.report is not None:
        with out_folder(args.report):
            with replacing(args.report / RESULT_NAME) as part:
                part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            with replacing(args.report / "link.md") as part:
                part.write_text(f"{markdown(cells)}\n{title}; {verdict}\n", encoding="utf-8")
    if args.as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(title)
        click.echo(columns(cells, right=range(1, len(cells[0]))))
        click.echo(verdict)

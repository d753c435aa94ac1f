"""The command lines that torchrun is behind: its own options, and ours. Everything is checked here, first."""

from __future__ import annotations

import argparse
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, final

from kimad.launch.errors import UsageError
from kimad.launch.job import CONFIG_NAME, RECORDS_NAME, SUMMARY_NAME
from kimad.launch.settings import parse_settings
from kimad.launch.truth import START_NAME
from kimad.naming import FORMS
from kimad.trace import LINK_FORMS, parse_links

# options of `emulate` that run nothing -> what they do
ALONE = {
    "--check": "say which backends work here, and why the others do not",
    "--cleanup": "remove what emulations that were killed have left",
}
# what an emulated network can be told beside its links
NETWORK = ("procs_per_host", "backend", "queue_ms", "latency_ms", "loss_percent", "replay_s", "congestion_control")


@final
class _Parser(argparse.ArgumentParser):
    """Raises its complaints instead of printing them with the usage."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("training_script, training_script_args", "SCRIPT, or -m MODULE")
        raise UsageError(f"{message}; see {self.prog} --help")


def torchrun_parser(command: str, description: str) -> argparse.ArgumentParser:
    """torchrun's parser under another name."""
    from torch.distributed.run import get_args_parser

    return _Parser(prog=f"kimad {command}", parents=[get_args_parser()], add_help=False, description=description)


def make_parser(command: str) -> argparse.ArgumentParser:
    """torchrun's parser with the options that `run` and `emulate` share."""
    parser = torchrun_parser(
        command, "All options of torchrun hold; Kimad's own are listed last. Options stand before the script."
    )
    group = parser.add_argument_group("Kimad")
    group.add_argument(
        "--objective", default=os.environ.get("KIMAD_OBJECTIVE", "progress"), metavar="NAME", help=f"{FORMS} (progress)"
    )
    group.add_argument(
        "--dense", action="append", default=[], metavar="PATTERN",
        help="parameters that always travel whole, such as '*.bias'; may be given again",
    )  # fmt: skip
    group.add_argument(
        "--weight", action="append", default=[], metavar="PATTERN=W",
        help="factor of these parameters' squared error, as 'router.*=4'; may be given again, the last match holds",
    )  # fmt: skip
    group.add_argument("--out", type=Path, metavar="DIR", help="run folder: records, configuration, summary; new")
    return parser


def add_emulation(parser: argparse.ArgumentParser, backends: Sequence[str], *, always: bool = True) -> None:
    """The options of an emulated network; not `always`: the command works on the real one as well."""
    group = parser.add_argument_group("Emulation")
    group.add_argument(
        "-n",
        "--hosts",
        "--ranks",
        dest="hosts",
        type=int,
        required=always,
        metavar="N",
        help="hosts, all on this machine" if always else "ranks on this machine, or emulated hosts (2)",
    )
    group.add_argument("--procs-per-host", type=int, default=1, metavar="R", help="processes of each host (1)")
    group.add_argument(
        "--link",
        required=always,
        action="append",
        metavar="SPEC",
        help=f"{LINK_FORMS}, in Mbit/s and seconds; UP/DOWN for two directions; once for all hosts, or once for each",
    )
    group.add_argument("--backend", default="auto", metavar="NAME", help=f"auto, {', '.join(backends)} (auto)")
    group.add_argument("--queue-ms", type=float, default=50.0, metavar="MS", help="that wait in front of a link (50)")
    group.add_argument("--latency-ms", type=float, default=0.0, metavar="MS", help="one way (0); needs netem")
    group.add_argument("--loss-percent", type=float, default=0.0, metavar="P", help="of the frames (0); needs netem")
    group.add_argument("--replay-s", type=float, default=0.1, metavar="S", help="between two changes of a rate (0.1)")
    group.add_argument(
        "--congestion-control", default="reno", metavar="NAME", help="of TCP on hosts that are namespaces (reno)"
    )
    for option, text in ALONE.items() if always else ():
        group.add_argument(option, action="store_true", help=f"{text}; stands alone, but for --json")


def check(args: argparse.Namespace) -> None:
    """Check what both commands share, before anything is created.

    Raises:
        UsageError: with what was given and what is allowed.
        ConfigError: for the objective, or the patterns.
    """
    parse_settings(args.objective, args.dense, args.weight)
    _check_torchrun(args)
    _check_program(args)
    if args.out is not None:
        _check_out(args.out, single_node=args.nnodes in ("1", "1:1"))


def check_emulation(args: argparse.Namespace, backends: Sequence[str]) -> None:
    """Check what `emulate` has beyond `run`.

    Raises:
        UsageError: with what was given and what is allowed.
        LinkError: for the link.
    """
    for option in ALONE:
        if getattr(args, option[2:], False):
            raise UsageError(f"{option} is given with other options; it stands alone")
    if args.hosts < 1:
        raise UsageError(f"-n is {args.hosts}; it must be 1 or more")
    if args.procs_per_host < 1:
        raise UsageError(f"--procs-per-host is {args.procs_per_host}; it must be 1 or more")
    parse_links(args.link, args.hosts)
    if args.backend not in ("auto", *backends):
        raise UsageError(f"backend {args.backend!r} is not known; allowed: auto, {', '.join(backends)}")
    for option, value, low, high in (
        ("--queue-ms", args.queue_ms, 1, 10_000),
        ("--latency-ms", args.latency_ms, 0, 10_000),
        ("--loss-percent", args.loss_percent, 0, 100),
        ("--replay-s", args.replay_s, 0.02, 10),
    ):
        if not low <= value <= high:
            raise UsageError(f"{option} is {value:g}; allowed: {low:g} to {high:g}")
    ranks = args.hosts * args.procs_per_host
    if args.nproc_per_node not in ("1", str(ranks)):
        raise UsageError(f"--nproc-per-node is {args.nproc_per_node}, -n is {args.hosts}; give -n alone")
    if args.nnodes not in ("1", "1:1"):
        raise UsageError(f"--nnodes is {args.nnodes}; an emulated run is on this machine alone, leave it out")


def _check_torchrun(args: argparse.Namespace) -> None:
    from torch.distributed.elastic.multiprocessing import Std
    from torch.distributed.run import determine_local_world_size, parse_min_max_nnodes

    for flag in ("no_python", "run_path"):
        if getattr(args, flag):
            option = "--" + flag.replace("_", "-")
            raise UsageError(f"{option} is given; Kimad runs Python scripts and modules (-m) only, leave it out")
    try:
        ranks = determine_local_world_size(args.nproc_per_node)
    except ValueError as error:
        raise UsageError(f"--nproc-per-node is {args.nproc_per_node!r}: {error}") from error
    if ranks < 1:
        raise UsageError(f"--nproc-per-node is {args.nproc_per_node!r}; it must be 1 or more")
    try:
        low, high = parse_min_max_nnodes(args.nnodes)
    except (ValueError, RuntimeError):
        low, high = 0, 0
    if not 0 < low <= high:
        raise UsageError(f"--nnodes is {args.nnodes!r}; allowed: N or MIN:MAX, 1 or more")
    for option in ("redirects", "tee"):
        try:
            Std.from_str(getattr(args, option))
        except ValueError as error:
            raise UsageError(f"--{option} is {getattr(args, option)!r}: {error}") from error


def _check_program(args: argparse.Namespace) -> None:
    script = args.training_script
    if args.module:
        top = script.partition(".")[0]
        if importlib.machinery.PathFinder.find_spec(top, [os.getcwd(), *sys.path]) is None:
            raise UsageError(f"module {script!r} is not found; it must be importable from the current folder")
        return
    path = Path(script)
    if path.is_dir():
        path = path / "__main__.py"
    if not path.is_file():
        raise UsageError(f"script {script!r} does not exist; give the path of a Python script, or -m MODULE")
    if not os.access(path, os.R_OK):
        raise UsageError(f"script {script!r} cannot be read; check its permissions")


def _check_out(out: Path, *, single_node: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a file; give a folder that is new or empty")
    if single_node and any((out / name).exists() for name in (CONFIG_NAME, RECORDS_NAME, SUMMARY_NAME, START_NAME)):
        raise UsageError(f"--out {str(out)!r} holds a run already; give a folder that is new or empty")
    above = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not above.is_dir():
        raise UsageError(f"--out {str(out)!r} lies below {str(above)!r}, which is a file; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"--out {str(out)!r} cannot be written; give another folder")

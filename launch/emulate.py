"""`kimad emulate`: the real program on a shaped network, on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from kimad.launch import arguments
from kimad.launch.backends import BACKENDS
from kimad.launch.errors import UsageError
from kimad.launch.folder import make_job, usable_cores
from kimad.launch.passthrough import Passthrough
from kimad.launch.process import note
from kimad.launch.rank_report import RankReport
from kimad.launch.run import conclude, execute
from kimad.launch.summary import size


@click.command("emulate", cls=Passthrough, add_help_option=False)
def command(argv: Sequence[str]) -> int:
    """Run a script on a shaped network, on this machine alone."""
    return emulate(argv)


def emulate(argv: Sequence[str]) -> int:
    """Run a script on N processes of this machine, each behind the link; returns the exit code.

    Raises:
        UsageError, ConfigError, LinkError: bad input; nothing was created.
    """
    parser = arguments.make_parser("emulate")
    arguments.add_emulation(parser, list(BACKENDS))
    args = parser.parse_args(argv)
    arguments.check_emulation(args, list(BACKENDS))
    args.nproc_per_node = str(args.ranks)
    arguments.check(args)
    backend = BACKENDS[args.backend]
    reason = backend.unavailable()
    if reason is not None:
        raise UsageError(f"backend {backend.name} cannot work here: {reason}")
    args.standalone = True
    args.local_addr = args.local_addr or "127.0.0.1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

    note("emulate", f"link {args.link} by backend {backend.name}: {backend.summary}")
    note("emulate", f"not modelled: {backend.not_modelled}")
    if usable_cores() < args.ranks:
        note("emulate", f"{args.ranks} ranks share {usable_cores()} cores: steps take longer than on as many machines")
    outcome = execute("emulate", args, make_job(args, link=args.link, backend=backend.name))
    shaped = [_verify(report) for _, report in sorted(outcome.reports.items())]
    conclude("emulate", outcome)
    return outcome.ending.exit_code or (0 if all(shaped) else 1)


def _verify(report: RankReport) -> bool:
    """Print one rank's check of the link; False where the link was not shaped as asked."""
    if report.ddp_models == 0 or report.world_size == 1:
        return True  # nothing to shape; there is a note on it already
    who, shaping = f"rank {report.rank}", report.shaping
    if shaping is None:
        note("emulate", f"{who}: no report on the link, the process ended early")
        return report.ended
    if shaping.failure is not None:
        note("emulate", f"{who}: error: shaping ended early: {shaping.failure}")
        return False
    if shaping.sockets == 0:
        note("emulate", f"{who}: error: no TCP socket was found, so nothing was shaped; use the gloo backend")
        return False
    share = shaping.worst_sent_bytes / max(1, shaping.worst_allowed_bytes)
    kept = "kept to the trace" if share <= 1 else "FASTER THAN THE TRACE"
    note(
        "emulate",
        f"{who}: sent {size(shaping.sent_bytes)} over {shaping.sockets} sockets in {shaping.seconds:.1f} s; {kept}:"
        f" worst second, at {shaping.worst_start_s:.1f} s, {size(shaping.worst_sent_bytes)} of"
        f" {size(shaping.worst_allowed_bytes)} allowed; shaping took {shaping.cpu_share:.1%} of a core",
    )
    return True

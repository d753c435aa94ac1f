"""Starts the workers through torchrun, and says how they ended."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from kimad.errors import KimadError
from kimad.launch import signals
from kimad.launch.backends.backend import Network
from kimad.launch.rank_report import RankReport, read_reports

WORKER = "kimad.launch.worker"


@final
@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    exit_code: int  # of the first rank that failed, 128 + signal if it was killed; 0 if none did
    cause: str | None = None  # one line; None if all went well


def run_workers(args: argparse.Namespace, config: Path, network: Network) -> Ending:
    """Run torchrun with our worker as the program, until all ranks have ended. The network is there meanwhile."""
    with signals.raised():
        try:
            os.environ.update(network.open(config.parent))
            with signals.raised():  # torchrun's handlers stay otherwise
                return _run(args, config)
        except KimadError as error:  # of the network: it worked when it was tried
            return Ending(1, str(error))
        except KeyboardInterrupt as signalled:
            return Ending(128 + signals.number(signalled), f"ended by {signals.name(signalled)}")
        finally:
            with signals.ignored():
                network.close()


def _run(args: argparse.Namespace, config: Path) -> Ending:
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    start = argparse.Namespace(**vars(args))
    start.module = True
    start.training_script = WORKER
    start.training_script_args = [str(config), args.training_script, *args.training_script_args]
    try:
        with _log_folder(args) as start.log_dir:
            torchrun.run(start)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        return _first_failure(error.failures, read_reports(config.parent))
    except SignalException as error:
        return Ending(128 + error.sigval, f"ended by {signal.Signals(error.sigval).name}; the workers were ended too")
    except (RuntimeError, OSError, ValueError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        return Ending(1, f"torchrun could not run the workers: {type(error).__name__}: {first_line}")
    return Ending(0)


@contextmanager
def _log_folder(args: argparse.Namespace) -> Iterator[str | None]:
    """Where torchrun makes its folders: it leaves them there, also when nothing was to be written to them."""
    if args.log_dir or (args.redirects, args.tee) != ("0", "0"):
        yield args.log_dir
    else:
        with tempfile.TemporaryDirectory(prefix="kimad-torchrun-", ignore_cleanup_errors=True) as folder:
            yield folder


def _first_failure(failures: dict[int, Any], reports: dict[int, RankReport]) -> Ending:
    """Of all ranks that failed, the one that failed first: the others mostly fail for want of it.

    A rank that ended without a report was killed, or left through `os._exit`: those come first. But those that torchrun
    has ended, by SIGTERM, once it had seen a failure, come last: it lists them behind what it had seen.
    """
    seen_first = next(iter(failures))

    def moment(rank: int) -> tuple[bool, bool, float, int]:
        report = reports.get(rank)
        reported = report is not None and report.ended
        asked = not reported and failures[rank].exitcode == -signal.SIGTERM and rank != seen_first
        return asked, reported, report.ended_s if report is not None and reported else 0.0, rank

    rank = min(failures, key=moment)
    code = failures[rank].exitcode
    if code < 0:
        return Ending(128 - code, f"rank {rank} was killed by {failures[rank].signal_name()}")
    error = reports[rank].error if rank in reports else None
    kind = f" ({error})" if error not in (None, "SystemExit") else ""
    return Ending(code, f"rank {rank} failed first: exit code {code}{kind}")


def note(command: str, text: str) -> None:
    """One line on stderr."""
    print(f"kimad {command}: {' '.join(text.split())}", file=sys.stderr, flush=True)

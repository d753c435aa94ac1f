"""Runs inside each torchrun worker: `python -m kimad.launch.worker CONFIG SCRIPT ARGS`.

Runs the script as `python SCRIPT ARGS` would, and has Kimad attached to every DDP model it makes.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from kimad.launch.job import Job
from kimad.launch.patch import on_every_ddp
from kimad.launch.session import Session
from kimad.launch.workplace import take_place


def main(argv: Sequence[str]) -> None:
    """Run the script named in CONFIG; ends as the script ends."""
    config, script, *arguments = argv
    job = Job.read(Path(config))
    take_place(job, os.environ)
    session = Session(job, Path(config).resolve().parent)
    on_every_ddp(session.model_made)
    try:
        run_program(script, arguments, module=job.module)
    except SystemExit as leave:
        session.close(None if leave.code in (None, 0) else leave)
        raise
    except Exception as error:
        _show(error)
        _close_after(session, error)
        sys.exit(1)
    except BaseException as error:
        _close_after(session, error)
        raise
    session.close(None)


def run_program(script: str, arguments: Sequence[str], *, module: bool) -> None:
    """Run a script or module as `__main__`, with the `sys.argv` and `sys.path` that Python gives it."""
    if module:
        sys.argv = [script, *arguments]
        sys.path[0] = os.getcwd()
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        path = os.path.abspath(script)  # as `__file__` of a script is
        sys.argv = [path, *arguments]
        sys.path[0] = os.path.dirname(os.path.realpath(path))
        runpy.run_path(path, run_name="__main__")


def _close_after(session: Session, error: BaseException) -> None:
    try:
        session.close(error)
    except Exception as second:  # the script's own error matters more
        print(f"kimad: closing after the error failed too: {second}", file=sys.stderr)


def _show(error: Exception) -> None:
    """Print the traceback as the script alone would have it, without our frames and runpy's."""
    trace: TracebackType | None = error.__traceback__
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace or error.__traceback__), error.__traceback__)


if __name__ == "__main__":
    main(sys.argv[1:])

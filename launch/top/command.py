"""`kimad top`: what a run does, while it does it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from kimad.launch.errors import UsageError
from kimad.launch.history import read_history
from kimad.launch.top.follow import Follower
from kimad.launch.top.plain import page
from kimad.launch.top.screen import screen
from kimad.launch.top.sections import brief
from kimad.launch.top.snapshot import Snapshot, snapshot
from kimad.trace.figures import BLOCKS, MARKS

_SHORTEST_S, _LONGEST_S = 0.05, 3600.0

Show = Callable[[Snapshot], None]


@click.command(name="top", no_args_is_help=False)
@click.argument("folder", metavar="RUN_DIR", type=Path)
@click.option("--once", is_flag=True, help="show what is there now, and exit")
@click.option("--every", "every_s", type=float, default=1.0, show_default=True, metavar="S", help="look so often")
@click.option("--plain", is_flag=True, help="one line a look, as over a pipe, and everything at the end")
@click.option("--json", "as_json", is_flag=True, help="the same figures as JSON, one line a look")
def command(folder: Path, once: bool, every_s: float, plain: bool, as_json: bool) -> int:
    """Watch a run in the terminal: one that goes on, one that has ended, or one that has not begun.

    RUN_DIR is what --out of kimad run or kimad emulate is, or out= of kimad.attach. It ends with the run, or by Ctrl-C.
    """
    if not _SHORTEST_S <= every_s <= _LONGEST_S:
        raise UsageError(f"--every {every_s:g} is not allowed; give {_SHORTEST_S:g} to {_LONGEST_S:g} seconds")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is a file; give a run folder: what --out of kimad run or emulate was")
    if once:
        read_history(folder)  # says what is wrong with the folder: nobody will wait for it
        _print_once(_look(Follower(folder)), as_json=as_json)
        return 0
    with ExitStack() as stack:
        show, end = _shower(stack, plain=plain, as_json=as_json)
        try:
            last = _watch(Follower(folder), every_s, show)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        end(last)
    return 0


def _watch(follower: Follower, every_s: float, show: Show) -> Snapshot:
    """Look until the run has ended; returns the last look."""
    while True:
        shot = _look(follower)
        show(shot)
        if shot.ended:
            return shot
        time.sleep(every_s)


def _look(follower: Follower) -> Snapshot:
    try:
        return snapshot(follower.look(), time.monotonic())
    except OSError as error:
        raise UsageError(
            f"cannot read {error.filename}: {error.strerror}; give a run folder that can be read"
        ) from error


def _shower(stack: ExitStack, *, plain: bool, as_json: bool) -> tuple[Show, Show]:
    """What to do with each look, and with the last one again."""
    seen: list[object] = [None]

    def once_each(print_it: Show) -> Show:
        def show(shot: Snapshot) -> None:
            now = (shot.state if as_json else "", shot.step, shot.total)  # in words, everything follows at the end
            if now != seen[0]:
                seen[0] = now
                print_it(shot)

        return show

    if as_json:
        return once_each(lambda shot: _print(json.dumps(shot.to_json(), allow_nan=False))), _nothing
    if plain or not sys.stdout.isatty():
        return once_each(lambda shot: _print(brief(shot))), lambda shot: _print("\n" + page(shot, _blocks()))
    drawn = stack.enter_context(screen())
    return lambda shot: drawn.show(shot, _blocks()), _nothing


def _print_once(shot: Snapshot, *, as_json: bool) -> None:
    _print(json.dumps(shot.to_json(), allow_nan=False) if as_json else page(shot, _blocks()))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        raise SystemExit(0) from None


def _nothing(shot: Snapshot) -> None:
    pass


def _blocks() -> str:
    """Characters to draw with that stdout can take."""
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return MARKS
    return BLOCKS

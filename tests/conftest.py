"""For every test: one torch thread, no deadline an example, and no process left running behind it."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest
import torch
from hypothesis import settings

GRACE_S = 2.0  # how long a child may take to end after its test
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # live as long as the test process

faulthandler.enable()
torch.set_num_threads(1)
settings.register_profile("kimad", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("kimad")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell has its background jobs ignore Ctrl-C, and the programs that tests end by it would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if sys.platform == "linux":
    # PR_SET_CHILD_SUBREAPER: a grandchild whose parent died becomes our child, so that it is seen below.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _is_running(process: psutil.Process) -> bool:
    """Whether it does anything still: a zombie does not, and multiprocessing's helpers are not the test's."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return not any(helper in " ".join(process.cmdline()) for helper in HELPERS)
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid}: (ended meanwhile)"


def _check_leftovers(before: set[psutil.Process], owner: str) -> None:
    """Fail when a process that was not there before is still running, and end it for the sake of later tests."""
    started = [process for process in _children() - before if _is_running(process)]
    if not started:
        return
    _, alive = psutil.wait_procs(started, timeout=GRACE_S)
    left = [process for process in alive if _is_running(process)]
    if not left:
        return
    described = "\n  ".join(_describe(process) for process in left)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=GRACE_S)
    pytest.fail(f"{owner} left {len(left)} process(es) running:\n  {described}", pytrace=False)


@pytest.fixture(autouse=True, scope="module")
def no_leftovers_of_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """For processes that a module keeps between its tests."""
    before = _children()
    yield
    _check_leftovers(before, request.node.name)


@pytest.fixture(autouse=True)
def no_leftovers(no_leftovers_of_module: None, request: pytest.FixtureRequest) -> Iterator[None]:
    before = _children()
    yield
    _check_leftovers(before, request.node.name)

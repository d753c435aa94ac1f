"""Move the calling thread into a network namespace, tie a process to its parent, put one first. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from kimad.launch.testbed.names import NETNS, TestbedError, require_form

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

T = TypeVar("T")


def enter(name: str) -> None:
    """Move the calling thread, and all threads and processes that it starts from now on, into a namespace of ours.

    Raises:
        TestbedError: the namespace is gone, is not ours, or may not be entered.
    """
    require_form(name)
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    try:
        fd = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(fd)
    except OSError as error:
        raise TestbedError(f"namespace {name} cannot be entered: {error.strerror}") from error


def inside(name: str, call: Callable[[], T]) -> T:
    """Call in a namespace of ours and return the result; the caller itself stays where it is."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(name)
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="kimad-inside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def hurry(pid: int = 0) -> None:
    """Have a process, or the calling thread, run before all ordinary ones, if this user may say so.

    It is to work for microseconds every now and then, on cores that training keeps busy.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends, however that ends; at once if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)

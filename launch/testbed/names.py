"""Names of our network namespaces, and the commands that reach them. Nothing else is ever touched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kimad.errors import KimadError

NETNS = Path("/run/netns")  # where iproute2 keeps named namespaces
TAG = re.compile(r"[0-9a-f]{8}")
NAME = re.compile(r"kimad-([0-9a-f]{8})-(br|h\d{1,3})")
SYSTEM_PATH = "/usr/sbin:/sbin"  # not in everybody's PATH
COMMAND_LIMIT_S = 30.0  # a command that takes longer hangs


class TestbedError(KimadError):
    """A command of the emulated network failed, or it was asked to touch what is not its own."""

    __test__ = False  # pytest takes any class called Test... for a test


def bridge_name(tag: str) -> str:
    """The namespace of the bridge."""
    return f"kimad-{tag}-br"


def host_name(tag: str, host: int) -> str:
    """The namespace of a host."""
    return f"kimad-{tag}-h{host}"


def address(host: int) -> str:
    """The IPv4 address of a host inside its namespace."""
    return f"10.77.0.{host + 1}"


def tag_of(name: str) -> str | None:
    """The tag in a name of ours; None for any other name."""
    match = NAME.fullmatch(name)
    return match[1] if match else None


def tool(name: str) -> str | None:
    """Where a program of the system is; also where only root's PATH leads. None: nowhere."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


def require_form(name: str) -> None:
    """Raises TestbedError unless the name is one that we give."""
    if not NAME.fullmatch(name):
        raise TestbedError(f"refused: {name!r} is not of the form kimad-<8 hex digits>-br or -h<number>")


def call(argv: Sequence[str], *, given: str | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        TestbedError: it failed, is not installed, or does not end.
    """
    try:
        program = [tool(argv[0]) or argv[0], *argv[1:]]
        done = subprocess.run(
            program, input=given, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TestbedError(f"`{' '.join(argv)}` could not run: {error}") from error
    if done.returncode or (given is not None and done.stderr):
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise TestbedError(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


def processes_in(name: str) -> list[int]:
    """The processes that are in a namespace of ours, as far as this user may see them."""
    require_form(name)
    inode = os.stat(NETNS / name).st_ino
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if os.stat(f"/proc/{entry}/ns/net").st_ino == inode:
                    found.append(int(entry))
            except OSError:
                continue  # it ended, or belongs to somebody else
    return found

"""Root in a user namespace of our own: what makes networks of namespaces without privilege.

`/run` gets a file system of its own there, since iproute2 keeps its namespaces below it. All of it is gone when the
last process inside has ended.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kimad.launch.testbed.names import SYSTEM_PATH
from kimad.launch.testbed.shaping import Path as LinkPath
from kimad.launch.testbed.shaping import commands

_VARIABLE = "KIMAD_USERNS_OUTSIDE"  # the user namespace that we came from
# --net as well: `ip netns add` goes back to the namespace it came from, which must be one of this user namespace
_UNSHARE = ("unshare", "--map-root-user", "--net", "--mount")
_PREPARE = f"export PATH=$PATH:{SYSTEM_PATH} && mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up"
_TRIAL_LIMIT_S = 20.0


def _current() -> str:
    return os.readlink("/proc/self/ns/user")


def is_inside() -> bool:
    """Whether `move` brought this process here."""
    return os.environ.get(_VARIABLE, _current()) != _current()


def move(arguments: Sequence[str]) -> None:
    """Replace this process by `python ARGUMENTS` in a user namespace of its own, unless it is in one."""
    if is_inside():
        return
    os.environ[_VARIABLE] = _current()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns that addresses have no names; nothing needs them
    program = [sys.executable, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(_UNSHARE[0], [*_UNSHARE, "sh", "-c", f'{_PREPARE} && exec "$@"', "sh", *program])  # noqa: S606


def trial(path: LinkPath) -> str | None:
    """Make a small network in a user namespace and let it go; returns what failed, or None."""
    script = "\n".join(["set -e", _PREPARE, *map(shlex.join, trial_commands(path))])
    try:
        done = subprocess.run(
            [*_UNSHARE, "sh", "-c", script], capture_output=True, text=True, timeout=_TRIAL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.is_file() and limit.read_text(encoding="ascii").strip() == "0":
        return "user namespaces are switched off (user.max_user_namespaces is 0)"
    return done.stderr.strip() or f"unshare ended with exit code {done.returncode}"


def trial_commands(path: LinkPath) -> list[list[str]]:
    """A host with a shaped link, as a testbed makes it."""
    ip, tc = ["ip", "-n", "trial"], ["tc", "-n", "trial"]
    return [
        ["ip", "netns", "add", "trial"],
        [*ip, "link", "add", "br0", "type", "bridge"],
        [*ip, "link", "add", "p0", "type", "veth", "peer", "name", "km0"],
        [*ip, "link", "set", "p0", "master", "br0", "up"],
        *([*tc, *line.split()] for line in commands("km0", 10, path, first=True, delay=True)),
    ]

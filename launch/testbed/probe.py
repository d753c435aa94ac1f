"""Whether an emulated network can be made here, and if not, why."""

from __future__ import annotations

import os
import sys

from kimad.launch.testbed import userns as user_namespace
from kimad.launch.testbed.bed import Testbed
from kimad.launch.testbed.names import TestbedError, tool
from kimad.launch.testbed.shaping import Path

_TOOLS = ("ip", "tc")


def netns(path: Path) -> str | None:
    """Why namespaces and links like that cannot be made by this user; None if they can. Makes one, and removes it."""
    reason = _lacking(*_TOOLS)
    if reason is not None:
        return reason
    if os.geteuid() != 0:
        return "it needs root"
    try:
        with Testbed(1, path) as bed:
            bed.set_rate(0, up_mbps=10, down_mbps=10)
    except TestbedError as error:
        return _short(str(error), path)
    return None


def userns(path: Path) -> str | None:
    """The same inside a user namespace, which needs no privilege."""
    reason = _lacking(*_TOOLS, "unshare", "mount")
    if reason is not None:
        return reason
    if user_namespace.is_inside():
        return netns(path)
    reason = user_namespace.trial(path)
    return _short(reason, path) if reason is not None else None


def _lacking(*tools: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return f"it needs Linux, this is {sys.platform}"
    missing = [name for name in tools if tool(name) is None]
    if missing:
        return f"{', '.join(missing)} not found; install iproute2 and util-linux"
    return None


def _short(text: str, path: Path) -> str:
    if "kind is unknown" in text:  # the kernel names no kind; netem is the rarer one, and comes first
        return "this kernel has no netem, which latency and loss need" if path.needs_netem else "this kernel has no htb"
    return " ".join(text.split())

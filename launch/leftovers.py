"""What emulations that were killed have left: their namespaces and processes. Nobody else's are touched."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import final

import psutil

from kimad.launch.testbed import owner
from kimad.launch.testbed.bed import remove
from kimad.launch.testbed.names import NETNS, TestbedError, tag_of
from kimad.launch.workplace import PARENT_VARIABLE

_SAME_START_S = 0.05  # two readings of one process's start


@final
@dataclass
class Left:
    """What was found and removed."""

    namespaces: list[str] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)  # that were ended
    failures: list[str] = field(default_factory=list)  # what could not be removed, and why


def clean_up() -> Left:
    """End the processes, then remove the namespaces, of emulations whose launcher is gone."""
    left = Left()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError):
            if _is_near(process.pid) and _is_orphan(process.environ().get(PARENT_VARIABLE, "")):
                process.kill()
                left.processes.append(process.pid)
    orphans = {tag for tag in owner.claimed() if owner.is_orphan(tag)}
    for name in sorted(os.listdir(NETNS)) if NETNS.is_dir() else []:
        if tag_of(name) in orphans:
            try:
                remove(name)
                left.namespaces.append(name)
            except TestbedError as error:
                left.failures.append(str(error))
    if not left.failures:
        for tag in orphans:
            owner.forget(tag)
    return left


def _is_near(pid: int) -> bool:
    """Whether process numbers mean the same to it as to us: in a container they do not."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return sys.platform != "linux"


def _is_orphan(mark: str) -> bool:
    """Whether an environment has the mark of a launcher that is gone. Raises ValueError for a mark that is not ours."""
    if not mark:
        return False
    pid, start_s = mark.split(":")
    try:
        found_s: float = psutil.Process(int(pid)).create_time()
        return abs(found_s - float(start_s)) > _SAME_START_S
    except psutil.NoSuchProcess:
        return True

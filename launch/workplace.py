"""A worker of an emulated run takes its place, before the script has opened anything: which host, and with whom."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from kimad.launch.backends.registry import BACKENDS
from kimad.launch.job import Job
from kimad.launch.testbed.enter import die_with

PARENT_VARIABLE = "KIMAD_EMULATION"  # "PID:START" of the launcher, in the environment of everything that it starts


def take_place(job: Job, environment: MutableMapping[str, str]) -> None:
    """Set what a launcher on N hosts with R processes each would have set, and go to this worker's host.

    Raises:
        KimadError: its network is gone.
    """
    if job.backend is None:
        return
    parent = environment.get(PARENT_VARIABLE, "").partition(":")[0]
    if parent and sys.platform == "linux":
        die_with(int(parent))
    environment.update(places(int(environment["RANK"]), job.hosts, job.procs_per_host))
    BACKENDS[job.backend].enter(job, environment)


def places(rank: int, hosts: int, procs_per_host: int) -> dict[str, str]:
    """torchrun's variables for a rank, as if each host had its own torchrun."""
    return {
        "LOCAL_RANK": str(rank % procs_per_host),
        "LOCAL_WORLD_SIZE": str(procs_per_host),
        "GROUP_RANK": str(rank // procs_per_host),
        "GROUP_WORLD_SIZE": str(hosts),
    }


def marker() -> str:
    """The value of `PARENT_VARIABLE` for what this process starts."""
    import psutil

    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"

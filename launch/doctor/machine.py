"""What the machine offers: transports, devices, the clock, processors, emulated networks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist

from kimad.launch.doctor.check import FAIL, OK, WARN, Check
from kimad.launch.folder import usable_cores
from kimad.launch.upkeep import reasons

COARSE_S = 1e-4  # a clock with longer ticks cannot time the transfers of fast links
READINGS = 20_000
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_REAL = ("netns", "userns")  # backends with real links


def gloo() -> Check:
    """The transport that Kimad works on."""
    if dist.is_available() and dist.is_gloo_available():
        return Check("gloo", OK, "torch.distributed has gloo")
    return Check("gloo", FAIL, "this torch has no gloo", "install a build of torch with distributed and gloo")


def cuda() -> Check:
    """Devices, which are not used yet."""
    nccl = "with" if dist.is_available() and dist.is_nccl_available() else "without"
    if not torch.cuda.is_available():
        return Check("cuda", OK, f"no CUDA device, torch {nccl} NCCL; none is needed")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    advice = "train on the CPU over gloo to have Kimad: gradients on a device are refused as yet"
    return Check("cuda", WARN, f"{names}, torch {nccl} NCCL", advice)


def clock(read: Callable[[], float] = time.monotonic) -> Check:
    """The monotonic clock, which all measurements are taken from."""
    about = time.get_clock_info("monotonic")
    readings = [read() for _ in range(READINGS)]
    steps = [after - before for before, after in pairwise(readings)]
    if min(steps) < 0 or not about.monotonic:
        return Check("clock", FAIL, f"{about.implementation} goes backward", "choose another clock source")
    tick_s = min((step for step in steps if step > 0), default=float("inf"))
    found = f"{about.implementation}, resolution {about.resolution:.0e} s, ticks of {tick_s:.1e} s seen"
    if tick_s > COARSE_S:
        return Check("clock", WARN, found, "expect wrong link estimates on fast links; choose another clock source")
    return Check("clock", OK, found)


def cores() -> Check:
    """Processors and threads: where several ranks share a machine, too many threads wait for each other."""
    there, usable, threads = os.cpu_count() or 1, usable_cores(), torch.get_num_threads()
    quota = quota_cores()
    given = os.environ.get("OMP_NUM_THREADS")
    found = f"{usable} of {there} cores usable"
    if quota is not None:
        found += f", a quota of {quota:g}"
    found += f", {threads} torch threads, OMP_NUM_THREADS {'not set' if given is None else f'is {given!r}'}"
    free = min(usable, quota) if quota is not None else usable
    rule = "OMP_NUM_THREADS = cores / ranks on this machine"
    if given is not None and not (given.isdecimal() and int(given) > 0):
        return Check("cores", WARN, found, f"give a whole number above 0: {rule}")
    if free < 2:
        return Check("cores", WARN, found, "two ranks here share one core: times are not those of two machines")
    if given is not None and int(given) > free:
        return Check("cores", WARN, found, f"each rank would start more threads than there are cores: set {rule}")
    if given is None:
        return Check("cores", OK, found, f"torchrun and `kimad run` then give each rank 1 thread; for more, {rule}")
    return Check("cores", OK, found)


def quota_cores(path: Path = _CPU_QUOTA) -> float | None:
    """Cores' worth of time that this container gets; None for no limit."""
    try:
        quota_us, period_us = path.read_text(encoding="ascii").split()
        return None if quota_us == "max" else int(quota_us) / int(period_us)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def emulation() -> Check:
    """What `kimad emulate` can use."""
    found = reasons()
    working = [name for name, reason in found.items() if reason is None]
    if not working:
        return Check("emulate", WARN, "no backend works", "see `kimad emulate --check`")
    text = f"works by {', '.join(working)}"
    missing = [f"{name}: {reason}" for name, reason in found.items() if reason is not None]
    if missing:
        text += f" ({'; '.join(missing)})"
    if any(name in _REAL for name in working):
        return Check("emulate", OK, text)
    return Check("emulate", WARN, text, f"links are simpler than real ones; {' or '.join(_REAL)} would have queues")

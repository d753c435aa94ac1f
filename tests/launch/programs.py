"""Runs the commands under test on small programs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from kimad.launch.job import Job
from tests.gloo import without_gloo
from tests.source import ROOT

PREAMBLE = """
import os, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP
torch.manual_seed(0)
torch.set_num_threads(1)
"""

TRAIN = """
def make(width=256, **options):
    return DDP(torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Linear(width, 1)), **options)

def train(model, steps, width=256):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, width)).square().mean().backward()
        optimizer.step()

dist.init_process_group("gloo")
rank = dist.get_rank()
"""


def write(path: Path, body: str, *, train: bool = True) -> Path:
    """A program with the usual imports, and with a process group and a small model if it trains."""
    path.write_text(PREAMBLE + (TRAIN if train else "") + textwrap.dedent(body), encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def kimad(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The `kimad` command."""
    call = [sys.executable, "-m", "kimad.launch", *map(str, arguments)]
    return _finished(call, cwd)


def worker(
    folder: Path, script: str, *arguments: str, cwd: Path, module: bool = False
) -> subprocess.CompletedProcess[str]:
    """One worker without torchrun around it."""
    folder.mkdir()
    config = Job("progress", script, module, arguments, world_size=1).write(folder, {})
    call = [sys.executable, "-u", "-m", "kimad.launch.worker", str(config), script, *arguments]
    return _finished(call, cwd)


def plain(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same program under Python alone."""
    call = [sys.executable, "-u", script, *arguments]
    return _finished(call, cwd)


def _finished(call: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(call, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=55, check=False)
    done.stdout = without_gloo(done.stdout)
    return done

"""Ranks that may die: forked from a process that has imported torch, so that every exit code is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

HEAD = """
import json, os, signal, sys, time
import torch, torch._dynamo  # which optimizers import: once here, not in every rank
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
import kimad

folder, world_size = sys.argv[1], int(sys.argv[2])
pids = []
for rank in range(world_size):
    pid = os.fork()
    if pid == 0:
        break
    pids.append(pid)
if len(pids) == world_size:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
    os._exit(0)

sys.stderr = open(f"{folder}/stderr{rank}", "w", buffering=1)
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
torch.manual_seed(0)
model = DDP(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 8)),
            bucket_cap_mb=0.1)
state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.1, "log4"), outage_timeout_s=20))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

def step():
    optimizer.zero_grad()
    model(torch.randn(4, 64)).pow(2).mean().backward()
    optimizer.step()
"""


@final
@dataclass(frozen=True)
class Ending:
    """How one rank ended."""

    code: int  # exit code; -9 for SIGKILL
    stderr: str


def run_forked(folder: Path, body: str, ranks: int = 2, timeout_s: float = 45) -> list[Ending]:
    """Run HEAD + body on every rank; how each of them ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "GLOO_SOCKET_IFNAME": "lo"}
    result = subprocess.run(
        [sys.executable, "-c", HEAD + body, str(folder), str(ranks)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(result.stdout + result.stderr)
    codes = json.loads(result.stdout.splitlines()[-1])
    return [Ending(code, (folder / f"stderr{rank}").read_text()) for rank, code in enumerate(codes)]

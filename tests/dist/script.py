"""Runs a training script of a test under torchrun, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAD = """
import os, sys, time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
import kimad

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world_size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = DDP(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 8)),
            bucket_cap_mb=0.1)
state = kimad.attach(model, kimad.Config(objective=kimad.Fixed("topk", 0.1, "log4"), outage_timeout_s=10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

def step():
    optimizer.zero_grad()
    model(torch.randn(4, 64)).pow(2).mean().backward()
    optimizer.step()
"""


def run_script(folder: Path, body: str, ranks: int = 2, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
    """Run HEAD + body under torchrun; both streams of all ranks come back together."""
    script = folder / "train.py"
    script.write_text(HEAD + body)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), str(script)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        check=False,
    )

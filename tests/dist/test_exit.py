"""A script that ends right after its last step exits 0, twenty times of twenty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gloo import without_gloo

# Forks from a process that has imported torch and run nothing of it: five pairs of ranks in a quarter of a minute.
SCRIPT = """
import os, sys
import torch, torch._dynamo  # which optimizers import: once here, not in every rank
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
import kimad
from torch.distributed import destroy_process_group

def train(rank, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DDP(nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 256), nn.Linear(256, 8)), bucket_cap_mb=0.1)
    state = kimad.attach(model, kimad.Config(objective=kimad.Progress()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(4, 64)).pow(2).mean().backward()
        optimizer.step()
    if sys.argv[1] == "destroy":
        destroy_process_group()

codes = []
for attempt in range(int(sys.argv[2])):
    pids = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            train(rank, f"{sys.argv[3]}/{attempt}")
            os.environ["CHILD"] = "1"
            break
        pids.append(pid)
    if "CHILD" in os.environ:
        break
    codes += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
if "CHILD" not in os.environ:
    print(codes)
"""


@pytest.mark.parametrize("quarter", [pytest.param(1, marks=pytest.mark.torch), 2, 3, 4])
@pytest.mark.parametrize("ending", ["destroy", "leave"])
def test_a_script_that_ends_after_its_last_step_exits_0(ending: str, quarter: int, tmp_path: Path) -> None:
    folder = tmp_path / f"quarter{quarter}"  # four times five pairs: one test may last a minute
    folder.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, ending, "5", str(folder)],
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert without_gloo(result.stdout).strip() == str([0] * 10), result.stdout + result.stderr

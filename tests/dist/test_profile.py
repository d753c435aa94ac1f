"""`kimad bench profile` on a real script: what it writes can be simulated, and the script trains as ever meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kimad.launch.profile import describe, table
from kimad.sim import Scenario, Workload, simulate
from kimad.sim.models import MODELS
from kimad.trace import parse_links

pytestmark = pytest.mark.dist
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time, torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 2000), nn.Linear(2000, 10)))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
torch.manual_seed(dist.get_rank())
try:
    for step in range(int(sys.argv[1])):
        optimizer.zero_grad()
        model(torch.randn(8, 64)).square().sum().backward()
        optimizer.step()
finally:
    own = torch.cat([p.detach().flatten() for p in model.parameters()])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    assert all(torch.equal(own, other) for other in every)
    print("equal", step)
    dist.destroy_process_group()
"""


OWN_HOOK = """
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
model.register_comm_hook(None, fp16_compress_hook)
optimizer ="""


def profile(folder: Path, *arguments: str, steps: int, text: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "kimad.launch", "bench", "profile", *arguments, "--", str(script), str(steps)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)


def test_a_profile_can_be_simulated(tmp_path: Path) -> None:
    out = tmp_path / "workload.npz"
    done = profile(tmp_path, "--steps", "5", "--out", str(out), "--json", steps=10_000)
    assert done.returncode == 0, done.stderr
    assert "written to" in done.stderr
    figures = json.loads(done.stdout)  # and nothing else: what the script prints goes to stderr
    assert "equal 56" in done.stderr  # 3 + 5 + 24 + 24 steps, counted from 0
    assert figures["parameters"] == 64 * 300 + 300 + 300 * 2000 + 2000 + 2000 * 10 + 10
    workload = Workload.load(out)
    assert [layer.name for layer in workload.layers] == [
        f"{i}.{kind}" for i in (0, 2, 3) for kind in ("weight", "bias")
    ]
    assert workload.ready_s.shape == (5, 2, len(workload.buckets))
    assert (np.diff(workload.ready_s, axis=2) >= 0).all()
    assert (workload.ready_s > 0).all()
    assert all(samples.shape[0] == 5 and samples.any() for samples in workload.gradients)
    assert set(workload.coding) == {"drop", "bfloat16", "int8", "topk"}
    assert all(factor > 0 for factor in workload.coding.values())
    assert set(workload.overhead_s) == {"fixed", "adaptive", "reading"}
    assert 0 < workload.overhead_s["fixed"] < workload.overhead_s["adaptive"] < 1
    assert 0 < workload.overhead_s["reading"] < 1
    result = simulate(Scenario(workload, parse_links("const:10", 2), steps=10), "kimad")
    assert np.isfinite(result.step_s).all()


def test_a_script_that_is_too_short_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "workload.npz"
    done = profile(tmp_path, "--steps", "50", "--out", str(out), steps=20)
    assert done.returncode == 1
    assert "the script ended too early: it must train for 102 steps or more" in done.stderr
    assert not out.exists()


def test_a_script_with_a_hook_of_its_own_is_not_profiled(tmp_path: Path) -> None:
    text = SCRIPT.replace("optimizer =", OWN_HOOK, 1)
    done = profile(tmp_path, "--out", str(tmp_path / "x.npz"), steps=5, text=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the script registered fp16_compress_hook on this model" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.npz").exists()


def test_the_table_shows_the_figures() -> None:
    figures = describe(MODELS["resnet18"]().workload("resnet18", compute_s=0.5, spread=0.0))
    lines = table(figures).splitlines()
    assert lines[0].startswith("62 layers, 11,173,962 parameters; ")
    assert f"{figures['compute_s']:.3g} s" in lines[1]
    buckets = figures["buckets"]
    assert isinstance(buckets, list)
    assert sum(bucket["bytes"] for bucket in buckets) == 4 * 11_173_962
    for bucket, line in zip(buckets, lines[2:-2], strict=True):
        assert f"{bucket['layers']} layers, {bucket['bytes'] / 1e6:.1f} MB" in line


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["-n", "1"], "not in the range"),
        (["--steps", "1"], "not in the range"),
        (["--out", "/nowhere/x"], "--out"),
        (["--speed", "3"], "No such option"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], what: str) -> None:
    done = profile(tmp_path, *arguments, steps=1)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert what in done.stderr

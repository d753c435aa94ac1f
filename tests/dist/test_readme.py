"""Every `kimad` command of the README does what it says, one after the other, in a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.dist
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in re.findall(r"^    (kimad [a-z].*)$", README, re.MULTILINE)]
SCRIPT = """
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100)))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
for step in range(60):
    optimizer.zero_grad()
    model(torch.randn(8, 64)).square().mean().backward()
    optimizer.step()
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader would have: a training script, the same as a module, and a log of a link."""
    place = tmp_path_factory.mktemp("reader")
    (place / "train.py").write_text(SCRIPT, encoding="utf-8")
    (place / "my").mkdir()
    (place / "my" / "__init__.py").write_text("", encoding="utf-8")
    (place / "my" / "training.py").write_text(SCRIPT, encoding="utf-8")
    (place / "log.csv").write_text("when,kB\n0,5000\n1,7000\n2,3000\n", encoding="utf-8")
    return place


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme(line: str, folder: Path) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "ARGS"]
    command = [sys.executable, "-m", "kimad.launch", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_is_shown() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert shown == {"run", "emulate", "simulate", "trace", "report", "top", "doctor", "bench"}

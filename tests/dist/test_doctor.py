"""The self-test of `kimad doctor` with real ranks: well, with a rank that goes its own way, and with ones that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kimad.launch.doctor.check import FAIL, OK
from kimad.launch.doctor.program import OBJECTIVES, STEPS
from tests.source import ROOT

pytestmark = pytest.mark.dist

LOOK = """
import json, sys
from dataclasses import asdict
from kimad.launch.doctor.check import Look
from kimad.launch.doctor.self_test import self_test
check = Look("self-test", True, lambda: self_test(*([sys.argv[1:]] if sys.argv[1:] else []))).look()
print(json.dumps(asdict(check)))
"""
ASTRAY = """
import sys, torch
from kimad.launch.doctor import program
digest = program.digest
def astray(parameters):
    parameters = list(parameters)
    if torch.distributed.get_rank() == 1:
        with torch.no_grad():
            parameters[0][3, 5] += 1e-6  # one entry of 180 thousand
    return digest(parameters)
program.digest = astray
program.main(sys.argv[1:])
"""
GREEDY = """
import sys, torch
from kimad.launch.doctor import program
train = program.train
def with_more(objective, rank):
    program.planned_bytes = lambda model, state: 1_000_000 + rank
    return train(objective, rank)
program.train = with_more
program.main(sys.argv[1:])
"""
FAILING = """
import sys
from kimad.launch.doctor import program
def train(objective, rank):
    raise RuntimeError("nothing works here")
program.train = train
program.main(sys.argv[1:])
"""
SLEEPING = """
import sys, time
from kimad.launch.doctor import program
program.LIMIT_S = 1
program.train = lambda objective, rank: time.sleep(50)
program.main(sys.argv[1:])
"""


def run(call: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=55, check=False)


def look(folder: Path, program: str = "") -> dict[str, Any]:
    """What the self-test says of the program that it comes with, or of another one."""
    call = [sys.executable, "-c", LOOK]
    if program:
        (folder / "program.py").write_text(program, encoding="utf-8")
        call.append(str(folder / "program.py"))
    done = run(call, folder)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert "\n" not in found["found"]
    return found


def test_two_ranks_pass(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found["status"] == OK, found
    assert found["figures"]["models"] == len(OBJECTIVES)
    assert "parameters equal to the last bit, bytes as planned" in found["found"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (ASTRAY, f"parameters differ after {STEPS} steps with {OBJECTIVES[0]}: rank 0 "),
        (GREEDY, f"bytes are not those of the plan, rank 0, {STEPS} steps with {OBJECTIVES[0]}: 1000000 planned, "),
        (FAILING, "RuntimeError: nothing works here"),
        (SLEEPING, "was killed by SIGALRM"),
        ("print('done')", "could not be looked at: FileNotFoundError"),
    ],
)
def test_what_goes_wrong_is_found(program: str, said: str, tmp_path: Path) -> None:
    found = look(tmp_path, program)
    assert found["status"] == FAIL
    assert said in found["found"]


def test_the_whole_command(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "kimad.launch", "doctor", "--compute", "0.2", "--json"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["self-test"]["status"] == OK
    assert checks["break-even"]["figures"]["model"] == "resnet18"
    assert checks["break-even"]["figures"]["compute_s"] == pytest.approx(0.2, rel=0.05)
    assert 1e6 < checks["break-even"]["figures"]["bps"] < 1e12
    assert list(tmp_path.iterdir()) == []

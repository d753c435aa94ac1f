"""However an emulation ends, nothing of it is left: no process, no namespace, no interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.launch.programs import environment, kimad, write

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are tied to their launcher on Linux alone"),
    pytest.mark.usefixtures("leaves_nothing"),
]

TRAINS_ON = """
import pathlib, time
model = make(512)
train(model, 2, 512)
pathlib.Path(f"ready{rank}").touch()
train(model, 100_000, 512)
"""


def ended_by(number: int, call: list[str], folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Start an emulation, send it a signal in the middle, and wait for all that it started; exit code and stderr."""
    write(folder / "script.py", TRAINS_ON)
    with subprocess.Popen(call, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True) as process:
        limit_s = time.monotonic() + 45
        while not all((folder / f"ready{rank}").exists() for rank in range(2)):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < limit_s
            time.sleep(0.1)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2
        process.send_signal(number)
        _, errors = process.communicate(timeout=40)
    _, alive = psutil.wait_procs(started, timeout=5)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    return process.returncode, errors


EMULATE = ["-m", "kimad.launch", "emulate", "-n", "2", "--link", "const:100", "--backend"]


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    call = [sys.executable, *EMULATE, "netns", "script.py"]
    code, errors = ended_by(number, call, tmp_path, environment())
    assert code == 128 + number, errors
    assert f"ended by {number.name}" in errors
    ours = [line for line in errors.splitlines() if not line.startswith("[rank")]  # the script's own KeyboardInterrupt
    assert "Traceback" not in "\n".join(ours)


@pytest.mark.parametrize("backend", ["pace", "hook"])
def test_workers_do_not_outlive_a_launcher_that_was_killed(backend: str, tmp_path: Path) -> None:
    code, _ = ended_by(signal.SIGKILL, [sys.executable, *EMULATE, backend, "script.py"], tmp_path, environment())
    assert code == -signal.SIGKILL


@pytest.mark.usefixtures("netns")
def test_killing_leaves_what_cleanup_removes(tmp_path: Path) -> None:
    code, _ = ended_by(signal.SIGKILL, [sys.executable, *EMULATE, "netns", "script.py"], tmp_path, environment())
    assert code == -signal.SIGKILL
    done = kimad("emulate", "--cleanup", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) >= 3


@pytest.mark.usefixtures("userns")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_without_privilege_leaves_nothing(number: signal.Signals, nobody: list[str], tmp_path: Path) -> None:
    code, errors = ended_by(number, [*nobody, *EMULATE, "userns", "script.py"], tmp_path, dict(os.environ))
    assert code == (-number if number == signal.SIGKILL else 128 + number), errors

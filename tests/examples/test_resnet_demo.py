"""How the ResNet example's demo starts its runs, and ends them."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from examples.resnet import __main__ as demo
from examples.resnet import runner
from examples.resnet.runner import Plan, RunError, child, command, left_s, run

PLAN = Plan("kimad", objective="progress", comm="none", steps=20, seconds=30.0, expected_s=50.0)


def nothing(left: float) -> None:
    """No progress is shown."""


def test_the_runs_differ_only_in_objective_hook_and_steps() -> None:
    assert [plan.name for plan in demo.PLANS] == ["ddp", "bf16", "fixed_topk", "kimad"]
    assert [plan.objective for plan in demo.PLANS] == ["off", "off", "fixed:topk:0.01", "progress"]
    assert all(plan.seconds >= 30.0 for plan in demo.PLANS), "two periods of the link"
    assert sum(plan.expected_s for plan in demo.PLANS) <= 480.0


def test_the_command_is_the_one_that_anybody_would_type(tmp_path: Path) -> None:
    words = command(PLAN, tmp_path)
    assert words[1:6] == ["-m", "kimad.launch", "emulate", "-n", "2"]
    assert words[words.index("--link") + 1] == "sine:30,330,15"
    assert words[words.index("--") + 1] == "examples/resnet/train.py"


def test_the_time_left_follows_the_pace_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    assert left_s(PLAN, log, elapsed_s=8.0) == pytest.approx(42.0)
    log.write_text("{}\n" * 10)
    assert left_s(PLAN, log, elapsed_s=40.0) == pytest.approx(40.0)
    assert left_s(PLAN, log, elapsed_s=5.0) == pytest.approx(25.0), "the run lasts its seconds in any case"


def test_a_failed_run_shows_the_end_of_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "command", lambda plan, folder: [sys.executable, "-c", "raise SystemExit('no link')"])
    with pytest.raises(RunError, match=r"(?s)kimad ended with exit code 1.*no link"):
        run(PLAN, tmp_path / "kimad", nothing)


def test_a_run_without_its_files_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "command", lambda plan, folder: [sys.executable, "-c", "pass"])
    with pytest.raises(RunError, match="wrote no"):
        run(PLAN, tmp_path / "kimad", nothing)


def test_a_run_of_an_earlier_demo_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kimad"
    folder.mkdir()
    (folder / "steps.jsonl").write_text("{}\n")
    (folder / "config.json").write_text("{}\n")
    monkeypatch.setattr(runner, "command", lambda plan, folder: [sys.executable, "-c", "pass"])
    with pytest.raises(RunError, match="wrote no"):
        run(PLAN, folder, nothing)
    assert not folder.exists()


def test_a_child_ends_with_the_body_that_started_it() -> None:
    with pytest.raises(KeyboardInterrupt), child(["sleep", "60"], output=2) as process:
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGTERM


def test_sigterm_ends_the_demo_and_its_run(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from examples.resnet import __main__ as demo, runner\n"
        "sleep = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "runner.command = lambda plan, folder: [sys.executable, '-c', sleep]\n"
        f"demo.main(['--out', {str(tmp_path)!r}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=runner.ROOT, stderr=subprocess.PIPE)
    output = tmp_path / "ddp.log"
    limit_s = time.monotonic() + 30.0
    while not (output.is_file() and output.read_text().strip()) and time.monotonic() < limit_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 130, errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(output.read_text()), 0)


def test_a_missing_library_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "sklearn" else object())
    result = CliRunner().invoke(demo.main, [])
    assert result.exit_code == 2
    assert result.stderr == "this example needs scikit-learn: pip install 'kimad[examples]'\n"

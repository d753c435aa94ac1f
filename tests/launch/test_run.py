"""`kimad run`: exit codes, notes, and what a run folder holds."""

from __future__ import annotations

import getpass
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import final

import psutil
import pytest

from kimad.launch.process import _first_failure
from kimad.launch.rank_report import RankReport
from kimad.launch.summary import read_records
from tests.launch.programs import environment, kimad, write

pytestmark = [
    pytest.mark.dist,
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are tested on Linux"),
]


@pytest.mark.parametrize("objective", ["progress", "ddp"])
def test_run_folder(objective: str, tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "train(make(), int(sys.argv[1]))\ndist.destroy_process_group()")
    line: list[str | Path] = ["run", "--nproc_per_node=2", "--objective", objective, "--out", "a/b", script, "4"]
    done = kimad(*line, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("kimad run: 4 steps in ")
    assert "saved)" in lines[-1]
    out = tmp_path / "a" / "b"
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["objective"], config["world_size"], config["link"]) == (objective, 2, None)
    assert config["command"].endswith("script.py 4")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["exit_code"], summary["steps"], summary["attached"]) == (0, 4, 1)
    records = [json.loads(line) for line in (out / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2, 3]
    if objective == "ddp":
        model_bytes = 4 * (256 * 256 + 256 + 256 + 1)
        for record in records:  # all of the model once a step, and next to nothing else
            assert model_bytes <= record["wire_bytes"] <= 1.05 * model_bytes
            assert record["measured"]["step_s"] > 0


def test_exit_code_is_the_one_of_the_rank_that_failed_first(tmp_path: Path) -> None:
    body = """
    train(make(), 1)
    if rank == 1:
        sys.exit(3)
    dist.barrier()
    """
    done = kimad("run", "--nproc-per-node", "2", write(tmp_path / "script.py", body), cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "kimad run: rank 1 failed first: exit code 3\n" in done.stderr
    assert "ChildFailedError" not in done.stderr


def test_killed_rank_is_named(tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "os.kill(os.getpid(), 11)", train=False)
    done = kimad("run", script, cwd=tmp_path)
    assert done.returncode == 128 + 11, done.stderr
    assert "rank 0 was killed by SIGSEGV" in done.stderr


def test_world_of_one_is_left_alone(tmp_path: Path) -> None:
    done = kimad("run", write(tmp_path / "script.py", "train(make(), 2)\ndist.destroy_process_group()"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "world size 1: nothing to exchange" in done.stderr


def test_termination_ends_the_workers(tmp_path: Path) -> None:
    body = """
    import pathlib, time
    train(make(), 2)
    time.sleep(1)  # the last step is recorded behind it
    pathlib.Path(f"ready{rank}").touch()
    time.sleep(50)
    """
    script = write(tmp_path / "script.py", body)
    call = [sys.executable, "-m", "kimad.launch", "run", "--nproc-per-node", "2", str(script)]
    with subprocess.Popen(call, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)) and process.poll() is None:
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "kimad run: ended by SIGTERM" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert "2 steps in" in errors  # what was recorded until then is not lost


@final
class Failure:
    """torchrun's account of a rank that failed."""

    def __init__(self, exitcode: int) -> None:
        self.exitcode = exitcode

    def signal_name(self) -> str:
        return signal.Signals(-self.exitcode).name


def test_first_failure_is_the_cause() -> None:
    failures = {0: Failure(1), 1: Failure(4), 2: Failure(-9)}
    late, early = RankReport(0, 3, ended=True, ended_s=2.0), RankReport(1, 3, ended=True, ended_s=1.0)
    assert _first_failure(failures, {0: late, 1: early}).exit_code == 137  # no report: it was killed, so it was first
    del failures[2]
    assert _first_failure(failures, {0: late, 1: early}).exit_code == 4


def test_what_torchrun_ended_is_not_the_cause() -> None:
    """It lists the ranks that it has ended behind those that it had seen to fail."""
    killed = {1: Failure(-signal.SIGKILL), 0: Failure(-signal.SIGTERM), 2: Failure(-signal.SIGTERM)}
    assert _first_failure(killed, {}).cause == "rank 1 was killed by SIGKILL"
    raised = {2: Failure(3), 0: Failure(-signal.SIGTERM)}
    assert _first_failure(raised, {2: RankReport(2, 3, ended=True, ended_s=1.0)}).exit_code == 3
    asked = {1: Failure(-signal.SIGTERM), 0: Failure(-signal.SIGTERM)}  # by somebody else: there is no failure before
    assert _first_failure(asked, {}).cause == "rank 1 was killed by SIGTERM"


def test_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert read_records(path) is None
    record = {
        "step": 0,
        "time_s": 1.0,
        "objective": "progress",
        "wire_bytes": 10,
        "control_bytes": 1,
        "dense_bytes": 100,
        "measured": {"step_s": 0.5},
    }
    path.write_text(json.dumps(record) + "\n" + json.dumps(record)[:20], encoding="utf-8")
    summary = read_records(path)
    assert summary is not None
    assert (summary.steps, summary.wire_bytes, summary.seconds, summary.compressed_steps) == (1, 11, 0.5, 1)
    assert "1 of 1 steps compressed" in summary.line


@pytest.mark.parametrize(("body", "fails"), [("train(make(), 1)", False), ("sys.exit(3)", True)])
def test_nothing_is_left_in_the_folder_for_temporary_files(body: str, fails: bool, tmp_path: Path) -> None:
    """torchrun makes folders for logs there, and leaves them."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    script = str(write(tmp_path / "script.py", body))
    call = [sys.executable, "-m", "kimad.launch", "run", "--nproc-per-node", "2", script]
    found = {**environment(), "TMPDIR": str(temporary)}
    done = subprocess.run(call, cwd=tmp_path, env=found, capture_output=True, text=True, timeout=55, check=False)
    assert bool(done.returncode) == fails, done.stderr
    assert {path.name for path in temporary.iterdir()} <= {f"torchinductor_{getpass.getuser()}"}  # torch's own cache


def test_logs_that_were_asked_for_are_kept(tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "print('to be kept')")
    line: list[str | Path] = ["run", "--nproc-per-node", "1", "--log-dir", "logs", "--redirects", "1", script]
    done = kimad(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = [path.read_text(encoding="utf-8") for path in (tmp_path / "logs").rglob("stdout.log")]
    assert ["to be kept" in text for text in kept] == [True]

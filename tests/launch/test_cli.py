"""Bad input: exit code 2, one line on stderr, no traceback, and nothing is created."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kimad.launch.cli import main
from tests.source import ROOT


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.write_text("print('ran')\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "kimad: Missing command"),
        ("rum train.py", "kimad: No such command"),
        ("--bogus", "kimad: No such option"),
        ("run", "SCRIPT, or -m MODULE"),
        ("run --bogus train.py", "kimad run: unrecognized arguments: --bogus"),
        ("run --objective wrong train.py", "kimad run: unknown objective 'wrong'; allowed: progress"),
        ("run --objective step-time:-1 --out new train.py", "StepTime seconds"),
        ("run missing.py", "script 'missing.py' does not exist"),
        ("run .", "script '.' does not exist"),
        ("run -m no_such_module_anywhere", "module 'no_such_module_anywhere' is not found"),
        ("run --out train.py train.py", "--out 'train.py' is a file"),
        ("run --out train.py/new train.py", "which is a file"),
        ("run --out new --objective wrong train.py", "unknown objective"),
        ("run --out new missing.py", "does not exist"),
        ("run --nproc-per-node two train.py", "--nproc-per-node is 'two'"),
        ("run --nproc_per_node 0 train.py", "must be 1 or more"),
        ("run --nnodes 3:1 train.py", "--nnodes is '3:1'"),
        ("run --redirects 9 train.py", "--redirects is '9'"),
        ("run --no-python train.py", "--no-python is given"),
        ("run --dense= train.py", "dense has the pattern ''"),
        ("run --weight router.* train.py", "weight 'router.*': write PATTERN=W, such as 'router.*=4'"),
        ("run --weight =4 train.py", "write PATTERN=W"),
        ("run --weight a=much train.py", "write PATTERN=W"),
        ("run --weight a=-1 train.py", "weight of 'a' is -1.0; it must be a number from 1e-06 to 1e+06"),
        ("run --weight a=nan --out new train.py", "weight of 'a' is nan"),
        ("run --dense a --objective off train.py", "with objective off everything travels whole"),
        ("run --weight a=2 --objective fixed:int8 train.py", "objective fixed:int8 weighs no errors"),
        ("emulate -n 2 --link const:1 --weight a -- train.py", "kimad emulate: weight 'a': write PATTERN=W"),
        ("emulate train.py", "required: -n/--hosts/--ranks, --link"),
        ("emulate -n 2 train.py", "required: --link"),
        ("emulate -n many --link const:1 train.py", "invalid int value: 'many'"),
        ("emulate -n 0 --link const:1 train.py", "-n is 0"),
        ("emulate -n 2 --link const:nan -- train.py", "kimad emulate: link const: MBPS is nan"),
        ("emulate -n 2 --link sine:30,10,5 --out new -- train.py", "HI is 10"),
        ("emulate -n 2 --link sine:30,330 -- train.py", "allowed: sine:LO,HI,PERIOD_S"),
        ("emulate -n 2 --link wave:1 -- train.py", "no known kind"),
        (
            "emulate -n 2 --link const:1 --backend smoke -- train.py",
            "backend 'smoke' is not known; allowed: auto",
        ),
        ("emulate -n 2 --link const:1 --nproc-per-node 3 -- train.py", "give -n alone"),
        ("emulate -n 2 --link const:1 --procs-per-host 0 -- train.py", "--procs-per-host is 0"),
        ("emulate -n 2 --link const:1 --link const:2 --link const:3 -- train.py", "3 links for 2 hosts"),
        ("emulate -n 2 --link const:1 --queue-ms 0 -- train.py", "--queue-ms is 0; allowed: 1 to 10000"),
        ("emulate -n 2 --link const:1 --latency-ms nan -- train.py", "--latency-ms is nan"),
        ("emulate -n 2 --link const:1 --loss-percent 101 -- train.py", "--loss-percent is 101; allowed: 0 to 100"),
        ("emulate -n 2 --link const:1 --replay-s 0.001 -- train.py", "--replay-s is 0.001; allowed: 0.02 to 10"),
        (
            "emulate -n 2 --link const:1 --latency-ms 5 --backend pace -- train.py",
            "backend pace cannot work here: it",
        ),
        (
            "emulate -n 2 --link const:1 --loss-percent 5 --backend hook -- train.py",
            "backend hook cannot work here: it",
        ),
        (
            "emulate -n 201 --link const:1 --backend netns -- train.py",
            "backend netns cannot work here: it has 200",
        ),
        ("emulate -n 2 --link const:1 --check -- train.py", "--check is given with other options; it stands alone"),
        ("emulate --check --cleanup", "--check and --cleanup are given; give one of them"),
        ("emulate --json", "--json is given alone"),
        ("emulate -n 2 --link const:1 --nnodes 2 -- train.py", "--nnodes is 2"),
        ("emulate -n 2 --link const:1 --objective wrong -- train.py", "unknown objective"),
        ("emulate -n 2 --link const:1 -- missing.py", "does not exist"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert said in err
    assert err.startswith("kimad")
    assert err.count("\n") == 1
    assert out == ""
    assert list(script.parent.iterdir()) == [script]


def test_folder_of_another_run_is_kept(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (script.parent / "old").mkdir()
    (script.parent / "old" / "records.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["run", "--out", "old", "train.py"])
    assert ended.value.code == 2
    assert "holds a run already" in capsys.readouterr().err


def test_pacing_needs_linux(script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("kimad.launch.backends.pace.sys.platform", "darwin")
    with pytest.raises(SystemExit) as ended:
        main(["emulate", "-n", "2", "--link", "const:1", "--backend", "pace", "--", "train.py"])
    assert ended.value.code == 2
    assert "backend pace cannot work here: it needs Linux, this is darwin" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["--version"]])
def test_help_as_a_module(command: list[str]) -> None:
    call = [sys.executable, "-m", "kimad.launch", *command]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "kimad" in done.stdout

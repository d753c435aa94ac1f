"""`kimad top` as a command: over a pipe, on a terminal, and with bad input."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kimad.launch.cli import main
from kimad.launch.errors import UsageError
from kimad.launch.top.screen import screen
from tests.launch.runs import begin, end, record, write_records
from tests.source import ROOT

TIMEOUT_S = 40.0


def kimad(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["top", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def start(*arguments: object, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kimad.launch", "top", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE)


def test_once_over_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path)
    assert kimad(tmp_path, "--once") == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 ranks, objective progress, link sine:30,330,15 by netns\nrunning; ")
    for heading in ("Step time", "Link", "Bytes that rank 0 sent", "Layers", "Last decision"):
        assert f"\n\n{heading}" in out
    assert "\x1b" not in out
    assert err == ""


def test_json_has_the_same_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path)
    end(tmp_path)
    assert kimad(tmp_path, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["state"], figures["step"], figures["steps"]) == ("ended", 29, 30)
    assert figures["total_sent_bytes"] == sum(record(i)["wire_bytes"] + 1000 for i in range(30))
    assert sum(figures["parts_s"].values()) == pytest.approx(0.5)
    assert [group["name"] for group in figures["groups"]][:2] == ["stem.weight", "body.0.weight"]


def test_nothing_in_a_name_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"name": "a\x1b[2Jb[red]", "codec": "int8", "density": 1.0}
    write_records(tmp_path, [record(0, layers=[bad])])
    assert kimad(tmp_path, "--once") == 0
    out = capsys.readouterr().out
    assert "a?[2Jb[red]" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere", "--once"], "does not exist"),
        ([".", "--once"], "holds neither"),
        (["file"], "is a file"),
        ([".", "--every", "0"], "--every 0"),
        ([".", "--every", "nan"], "--every nan"),
        ([], "RUN_DIR"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert kimad(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1


def test_it_follows_a_run_over_a_pipe_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "--every", "0.05")
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting: no step yet\n"
    begin(folder, steps=4)
    assert process.stdout.readline().startswith(b"step ")
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"step": 4, "time')
    end(folder)
    rest, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (0, b"")
    assert b"\nended; step 3; " in rest
    assert b"\x1b" not in rest


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (130, b"")


def test_on_a_terminal_it_draws_in_place(tmp_path: Path) -> None:
    begin(tmp_path, steps=3)
    leader, follower = pty.openpty()
    process = start(tmp_path, "--every", "0.05", stdout=follower)
    os.close(follower)
    drawn = read_until(leader, "step 2;")
    write_records(tmp_path, [record(3)])
    drawn += read_until(leader, "step 3;")
    end(tmp_path)
    drawn += read_until(leader, None)
    os.close(leader)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (0, b"")
    assert "\x1b[2K" in drawn  # the old lines were taken away
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert "Step time" in shown
    assert "ended; step 3;" in shown
    assert drawn.count("\x1b[?25h") >= 1  # the cursor is back


def read_until(descriptor: int, text: str | None) -> str:
    """What comes up to a text, or up to the end."""
    read = ""
    deadline_s = time.monotonic() + TIMEOUT_S
    while text is None or text not in read:
        assert select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))[0], f"no {text} in {read}"
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # the other end was closed
            data = b""
        if not data:
            assert text is None, read
            break
        read += data.decode("utf-8", "replace")
    return read


def test_without_rich_a_terminal_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    with pytest.raises(UsageError, match=r"pip install 'kimad\[top\]'"):
        screen()


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    begin(tmp_path)
    process = start(tmp_path, "--every", "0.05")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    write_records(tmp_path, [record(30)])
    assert process.wait(TIMEOUT_S) == 0
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""

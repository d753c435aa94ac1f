"""The commands of the example: what its README shows works, and bad input is one line and code 2."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.moe.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "examples" / "moe" / "README.md").read_text(encoding="utf-8")
SHOWN = [shlex.split(line, comments=True) for line in re.findall(r"^    (python -m examples\.moe .*)$", README, re.M)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"".join(b"def f%d(x):\n    return x + %d\n\n" % (i, i * i) for i in range(4000)))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A model that has hardly been trained."""
    path = tmp_path_factory.mktemp("model")
    assert main(["train", "--quick", "--folder", str(path), "--text", str(text)]) == 0
    return path


def test_text_comes_out_and_the_figures_add_up(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for policy in ("budgeted", "lru"):
        words = ["infer", "--folder", str(folder), "--prompt", "def", "--new", "9", "--memory-mb", "0.05"]
        assert main([*words, "--policy", policy, "--json"]) == 0
        report = json.loads(capfdbinary.readouterr().out)
        assert report["slots"] == 50_000 // (2 * 32 * 32 * 4)
        assert report["moved_bytes"] >= report["loaded"] * 2 * 32 * 32 * 4 > 0
        assert report["hits"] <= report["needed"] == 2 * (3 + 9 - 1)
        assert main([*words, "--policy", policy]) == 0
        assert b"9 bytes in" in capfdbinary.readouterr().out


def test_every_policy_says_the_same(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    said = set()
    for policy, memory, link in (("lru", "0.02", "const:500"), ("budgeted", "0.02", "const:50"), ("lfu", "1", "")):
        words = ["infer", "--folder", str(folder), "--prompt", "def", "--new", "12", "--memory-mb", memory]
        assert main([*words, "--policy", policy, *(["--link", link] if link else [])]) == 0
        said.add(capfdbinary.readouterr().out.split(b"\n\n12 bytes in")[0])
    assert len(said) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory-mb", "0.01"], "--memory-mb is 0.01; one expert a layer needs 0.01638 or more"),
        (["--memory-mb", "nan"], "--memory-mb is nan"),
        (["--memory-mb", "1", "--prompt", ""], "the prompt is empty"),
        (["--memory-mb", "1", "--new", "40"], "allowed: 32"),
        (["--memory-mb", "1", "--link", "const:-3"], "const"),
        (["--memory-mb", "1", "--server", "nowhere"], "allowed: HOST:PORT"),
        (["--memory-mb", "1", "--server", "127.0.0.1:1"], "expert server 127.0.0.1:1"),
        (["--memory-mb", "1", "--folder", "/nonexistent"], "no such file"),
        (["--memory-mb", "1", "--policy", "best"], "best"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--folder", str(folder), "--prompt", "def", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_file_of_experts_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dense.pt", "paths.pt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    whole = (folder / "experts.bin").read_bytes()
    (tmp_path / "experts.bin").write_bytes(whole[:-100])
    words = ["infer", "--folder", str(tmp_path), "--prompt", "def", "--new", "20", "--memory-mb", "1"]
    assert main(words) == 2
    assert "cut or altered" in capsys.readouterr().err
    altered = bytearray(whole)
    for place in range(8192, len(altered), 4096):
        altered[place] ^= 1
    (tmp_path / "experts.bin").write_bytes(altered)
    assert main(words) == 2
    assert "is altered: its checksum" in capsys.readouterr().err


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.moe", "serve", "--folder", str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.dist
def test_experts_come_from_a_server_and_its_end_is_an_error(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["infer", "--folder", str(folder), "--prompt", "def", "--new", "20", "--memory-mb", "0.02"]
    assert main(words) == 0
    alone = capfdbinary.readouterr().out.split(b"\n\n20 bytes in")[0]
    with served(folder) as (where, process):
        assert main([*words, "--server", where]) == 0
        assert capfdbinary.readouterr().out.split(b"\n\n20 bytes in")[0] == alone
        infer = subprocess.Popen(
            [sys.executable, "-m", "examples.moe", *words, "--server", where, "--link", "const:0.2"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert infer.stdout is not None
        first = infer.stdout.read(1)
        process.kill()
        rest, error = infer.communicate(timeout=30)
    assert infer.returncode == 2
    assert b"went away" in error
    assert error.count(b"\n") == 1
    assert alone.startswith(first + rest), "what was said until then is right"


@pytest.mark.dist
def test_the_tables_come_out(folder: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--folder", str(folder), "--text", str(text), "--quick"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert all(row["identical"] for row in report["compared"] + report["scheduling"])
    for row in report["hits"]:
        assert max(row[name] for name in ("lru", "global-lru", "lfu", "static", "values")) <= row["belady"]
    assert {row["policy"] for row in report["compared"]} >= {"lru", "whole-layer", "predictive", "budgeted"}
    oracle = next(row for row in report["compared"] if row["predictor"] == "oracle")
    assert oracle["recall"] == oracle["precision"] == oracle["loaded_over_needed"] == 1.0
    assert main(words) == 0
    assert "Prediction, held-out text" in capsys.readouterr().out


def test_the_readme_shows_every_command() -> None:
    assert {words[3] for words in SHOWN} == {"train", "infer", "bench", "demo", "serve"}


@pytest.mark.dist
@pytest.mark.parametrize("words", [w for w in SHOWN if w[3] != "serve"], ids=" ".join)
def test_a_command_of_the_readme(words: list[str], folder: Path, text: Path, tmp_path: Path) -> None:
    """At reduced size, on a folder that is there."""
    place = tmp_path if words[3] in ("train", "demo") else folder
    more = ["--new", "5"] if words[3] == "infer" else ["--quick", "--text", str(text)]
    server = words.index("--server") if "--server" in words else None
    kept = words[3:] if server is None else words[3:server] + words[server + 2 :]
    command = [sys.executable, "-m", "examples.moe", *kept, "--folder", str(place), *more]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr

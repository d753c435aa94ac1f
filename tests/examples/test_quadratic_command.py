"""The quadratic example as a program: its files, its exit codes, and every command of its README."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from examples.quadratic import __main__ as program
from examples.quadratic.checks import Check
from examples.quadratic.config import QUICK

pytest.importorskip("matplotlib")
README = Path(program.__file__).with_name("README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m examples\.quadratic(.*)$", README, re.MULTILINE)
FILES = ["fast.csv", "fast.png", "slow.csv", "slow.png", "summary.json"]
METHODS = 11


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program at a size that takes a second, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    config = replace(QUICK, seconds=5.0, rounds=200, width=16, check_rounds=40)
    monkeypatch.setattr(program, "DEFAULT", config)
    monkeypatch.setattr(program, "QUICK", config)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_readme(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = shlex.split(words, comments=True)
    assert program.main(arguments) == 0
    out = tmp_path / (arguments[arguments.index("--out") + 1] if "--out" in arguments else "runs/quadratic")
    assert sorted(path.name for path in out.iterdir()) == FILES
    output = capsys.readouterr()
    if "--json" in arguments:
        assert json.loads(output.out) == json.loads((out / "summary.json").read_text(encoding="utf-8"))
    else:
        assert output.out.count("bound holds") == 6
        assert output.out.count("Kimad+, last sample") == 4
    assert output.err == ""


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 3


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert program.main(["--out", name, "--seed", str(seed)]) == 0
    for file in FILES:
        contents = [(tmp_path / name / file).read_bytes() for name in "abc"]
        assert contents[0] == contents[1], file
        assert contents[0] != contents[2], file


def test_the_curves_are_those_of_the_table(tmp_path: Path) -> None:
    assert program.main(["--out", "."]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    for name in ("slow", "fast"):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(summary[name]["lines"]) == METHODS
        for line in summary[name]["lines"]:
            own = [r for r in rows if (r["method"], r["picked"]) == (line["name"], line["picked"])]
            assert len(own) == line["rounds"]
            assert float(own[-1]["seconds"]) == pytest.approx(line["simulated_s"], abs=1e-6)
            assert float(own[-1]["relative_gap"]) == pytest.approx(line["gap"], rel=1e-6)


def test_a_violated_bound_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bad = Check(1, "uniform", alpha=0.1, least_kept=0.2, gamma_l=0.1, value=3.0, bound=2.0, nearest=1.5)
    monkeypatch.setattr(program, "check_all", lambda config, link: [bad])
    assert program.main([]) == 1
    assert "Theorem 1, uniform   bound VIOLATED: mean squared gradient 3, bound 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--eta -1", "ETA is -1; it must be a finite number of 0 or more"),
        ("--delta nan", "DELTA is nan"),
        ("--eta 0 --delta 0", "--eta and --delta are both 0"),
        ("--theta-fast 0", "THETA is 0"),
        ("--workers 0", "0 is not in the range 1<=x<=64"),
        ("--workers two", "'two' is not a valid integer"),
        ("--seed -1", "-1 is not in the range"),
        ("--seconds 0", "--seconds is 0; it must be a finite number above 0"),
        ("--seconds nan", "--seconds is nan"),
        ("--unknown", "No such option"),
        ("surplus", "unexpected extra argument"),
        ("--out /dev/null/here", "Not a directory"),
    ],
)
def test_bad_input_is_one_line_and_2(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.startswith("python -m examples.quadratic: ")
    assert output.err.count("\n") == 1


def test_a_missing_library_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert program.main([]) == 2
    assert capsys.readouterr().err.endswith("this example needs matplotlib: pip install 'kimad[examples]'\n")

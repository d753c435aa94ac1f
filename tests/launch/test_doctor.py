"""`kimad doctor`: each check says what it found, a needed one that fails ends in exit code 1, none in a traceback."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from kimad.compressors import kernels
from kimad.launch.cli import main
from kimad.launch.doctor import command
from kimad.launch.doctor.check import FAIL, OK, WARN, Check, Look
from kimad.launch.doctor.coding import coding_factors, measured_here
from kimad.launch.doctor.pays import words
from kimad.launch.doctor.program import MESSAGE_BYTES, MESSAGES, STEPS, Trained
from kimad.launch.doctor.self_test import judge
from kimad.launch.trial import OPTIONS
from kimad.layout import Layer
from kimad.sim import BreakEven
from tests.sim.cases import workload

NAMES = ["python", "packages", "gloo", "cuda", "kernels", "extras", "clock", "cores", "emulate"]
GOOD = Trained("fixed:int8", "abc", 1.0, 1000, 1000, 200, 1500)


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    """Quick: a small model whose coding is known, and no ranks."""
    workload(spread=0.0).save(tmp_path / "small.npz")
    return ["doctor", "--no-self-test", "--model", str(tmp_path / "small.npz")]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_a_line_for_each_check(base: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call([*base, "-n", "2", "-n", "4"], capsys)
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert [line.split()[1] for line in lines] == [*NAMES, "break-even", "break-even"]
    assert {line.split()[0] for line in lines} <= {OK, WARN}
    assert last.startswith("all that is needed works")
    assert "small, 2 workers: plain DDP wins above" in lines[-2]
    assert "small, 4 workers: " in lines[-1]


def test_json_has_the_same(base: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call([*base, "--json"], capsys)
    figures = json.loads(out)
    assert (code, err, figures["ok"]) == (0, "", True)
    assert [check["name"] for check in figures["checks"]] == [*NAMES, "break-even"]
    for check in figures["checks"]:
        assert set(check) == {"name", "status", "found", "advice", "figures"}
        assert check["status"] in (OK, WARN)
        assert check["found"]
    pays = figures["checks"][-1]["figures"]
    assert set(pays) == {"model", "workers", "compute_s", "bps"}
    assert (pays["model"], pays["workers"]) == ("small", 2)
    assert pays["compute_s"] == pytest.approx(0.2)
    assert pays["bps"] > 0


@pytest.mark.parametrize("as_json", [False, True])
def test_a_needed_check_that_fails_is_shown_and_ends_in_1(
    as_json: bool, base: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    code, out, _ = call([*base, *(["--json"] if as_json else [])], capsys)
    assert code == 1
    if as_json:
        figures = json.loads(out)
        assert figures["ok"] is False
        failed = [check["name"] for check in figures["checks"] if check["status"] == FAIL]
    else:
        lines = out.splitlines()
        failed = [line.split()[1] for line in lines if line.startswith("FAIL")]
        assert "this torch has no gloo -> install a build of torch" in out
        assert lines[-1] == "Kimad does not work here: gloo"
    assert failed == ["gloo"]


def test_an_error_in_a_check_is_a_finding(
    base: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Any:
        raise OSError("the disk\nis gone")

    monkeypatch.setattr(kernels, "compiled", broken)
    monkeypatch.setattr(metadata, "version", broken)
    monkeypatch.setattr(command, "LOOKS", command.LOOKS[:6])
    code, out, err = call(base, capsys)
    assert (code, err) == (1, "")
    status = {line.split()[1]: line.split()[0] for line in out.splitlines()[:6]}
    assert (status["kernels"], status["packages"]) == (WARN, FAIL)
    assert "kernels     could not be looked at: OSError: the disk -> report it" in out
    assert "is gone" not in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nothing"], "model 'nothing' is neither a file nor one of resnet18"),
        (["--model", "."], "is neither a file"),
        (["--workers", "1"], "1 is not in the range 2<=x<=1024"),
        (["--compute", "0"], "0.0 is not in the range"),
        (["--bogus"], "No such option"),
        (["here"], "unexpected extra argument"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(["doctor", *arguments], capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("kimad doctor: ")
    assert err.count("\n") == 1


def test_a_file_that_is_no_workload_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npz").write_bytes(b"nothing of the kind")
    code, _, err = call(["doctor", "--model", str(tmp_path / "x.npz")], capsys)
    assert code == 2
    assert "not a workload file" in err


def test_ranks_that_agree_pass() -> None:
    check = judge({0: [GOOD, GOOD], 1: [GOOD, GOOD]}, 3.0)
    assert check.status == OK
    assert "parameters equal to the last bit, bytes as planned and by the kernel's count" in check.found
    unknown = replace(GOOD, planned_bytes=None, kernel_bytes=None)
    assert judge({0: [unknown], 1: [unknown]}, 3.0).status == OK


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(GOOD, parameters="abd"), "parameters differ after 8 steps with fixed:int8: rank 0 abc, rank 1 abd"),
        (replace(GOOD, recorded_bytes=999), "rank 1, 8 steps with fixed:int8: 1000 planned, 999 recorded"),
        (replace(GOOD, kernel_bytes=1199), "1000 and 200 for the plans recorded, 1199 sent"),
        (replace(GOOD, kernel_bytes=1201 + STEPS * MESSAGES * MESSAGE_BYTES), "for the plans recorded"),
    ],
)
def test_ranks_that_do_not_agree_fail(other: Trained, said: str) -> None:
    check = judge({0: [GOOD, GOOD], 1: [GOOD, other]}, 3.0)
    assert (check.status, said in check.found) == (FAIL, True), check.found


def test_a_look_that_raises() -> None:
    def raises() -> Check:
        raise ValueError

    assert Look("x", True, raises).look().status == FAIL
    assert Look("x", False, raises).look().status == WARN


def test_a_line_stays_one_line() -> None:
    assert Check("x", WARN, "two\nlines", "do\nthis").line(4) == "warn  x     two lines -> do this"


def test_break_even_in_words() -> None:
    assert words(BreakEven(2, 0.1, 868e6)) == "plain DDP wins above 870 Mbit/s a rank, compressing below"
    assert words(BreakEven(2, 0.1, None)) == "compressing makes more progress a second on any link"
    assert words(BreakEven(2, 0.1, 1e4)) == "plain DDP makes more progress a second on any link"


def test_coding_is_measured_on_what_the_model_has() -> None:
    threads = torch.get_num_threads()
    factors = coding_factors([Layer("a", (200, 300)), Layer("ids", (10,), "int64", 8), Layer("b", (300,))])
    assert set(factors) == {option.partition(":")[0] for option in OPTIONS}
    assert all(0 < factor < 1e4 for factor in factors.values())
    assert torch.get_num_threads() == threads
    made = workload()
    measured = measured_here(made)
    assert set(measured.coding) == set(factors)
    assert (measured.layers, measured.name) == (made.layers, made.name)


def test_a_layer_that_is_too_large_to_be_tried_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimad.launch.doctor.coding.ENTRIES", 20_000)
    assert set(coding_factors([Layer("huge", (1 << 30,))])) == {option.partition(":")[0] for option in OPTIONS}

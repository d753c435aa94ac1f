"""`kimad doctor`: each check says what it found, a needed one that fails ends in exit code 1, none in a traceback."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib import metadata
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kimad.compressors import kernels
from kimad.launch.cli import main
from kimad.launch.doctor import command, machine, software
from kimad.launch.doctor.check import FAIL, OK, WARN, Check, Look
from kimad.launch.doctor.coding import coding_factors, measured_here
from kimad.launch.doctor.pays import words
from kimad.launch.doctor.program import MESSAGE_BYTES, MESSAGES, STEPS, Trained
from kimad.launch.doctor.self_test import judge
from kimad.launch.doctor.software import Requirement, declared, within
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


@pytest.mark.parametrize(
    ("version", "versions", "inside"),
    [
        ("2.13.0+cpu", ">=2.4,<3", True),
        ("2.4", ">=2.4,<3", True),
        ("2.3.1", ">=2.4,<3", False),
        ("2.10.0", ">=2.4", True),
        ("3.0.0", ">=2.4,<3", False),
        ("1.0", "", True),
        ("1.0", "==1.0", True),
        ("1.0", "!=1.0", False),
        ("1.1", ">1.0, <=1.1", True),
    ],
)
def test_ranges(version: str, versions: str, inside: bool) -> None:
    assert within(version, versions) is inside


def test_a_range_that_cannot_be_read_is_no_range() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        within("1.0", "about 1.0")


def test_what_the_package_declares() -> None:
    """As pyproject.toml has it."""
    found = {(one.name, one.extra): one.versions for one in declared()}
    assert {name for name, extra in found if extra is None} == {"torch", "numpy", "psutil", "click"}
    assert within("2.5", found["torch", None])
    assert not within("1.13", found["torch", None])
    assert ("matplotlib", "plot") in found
    assert ("rich", "top") in found


def test_a_package_out_of_its_range_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "declared", lambda: [Requirement("torch", ">=99", None), Requirement("x", "", "dev")])
    check = software.packages()
    assert check.status == FAIL
    assert torch.__version__ in check.found
    assert check.advice == "pip install 'torch>=99'"


def test_missing_extras_are_named_with_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [Requirement("no-such-package", "", "plot"), Requirement("torch", "", "top"), Requirement("y", "", "dev")]
    monkeypatch.setattr(software, "declared", lambda: wanted)
    check = software.extras()
    assert check.status == WARN
    assert check.found == "missing: no-such-package for plots, and those of reports"
    assert check.advice == "pip install 'kimad[plot]' if you want these"


def test_numpy_alone_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compiled", lambda: False)
    assert software.compiled().status == WARN
    monkeypatch.setattr(kernels, "compiled", lambda: True)
    assert software.compiled().status == OK


@pytest.mark.parametrize(("step_s", "status"), [(1e-8, OK), (0.016, WARN), (0.0, WARN), (-1.0, FAIL)])
def test_clocks(step_s: float, status: str) -> None:
    readings = count(1e6, step_s)
    assert machine.clock(lambda: float(next(readings))).status == status


def test_a_clock_that_may_be_set_back_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(monotonic=False, implementation="a sundial", resolution=60.0)
    monkeypatch.setattr("kimad.launch.doctor.machine.time.get_clock_info", lambda name: about)
    check = machine.clock()
    assert (check.status, check.found) == (FAIL, "a sundial goes backward")


@pytest.mark.parametrize(
    ("threads", "usable", "status", "said"),
    [
        (None, 8, OK, "torchrun and `kimad run` then give each rank 1 thread"),
        ("4", 8, OK, ""),
        ("16", 8, WARN, "each rank would start more threads than there are cores"),
        ("many", 8, WARN, "give a whole number above 0"),
        ("0", 8, WARN, "give a whole number above 0"),
        ("1", 1, WARN, "two ranks here share one core"),
    ],
)
def test_threads(threads: str | None, usable: int, status: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if threads is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    monkeypatch.setattr(machine, "quota_cores", lambda: None)
    check = machine.cores()
    assert (check.status, said in check.advice) == (status, True)
    assert f"{usable} of {os.cpu_count()} cores usable" in check.found


def test_a_quota_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpu.max"
    assert machine.quota_cores(path) is None
    for text, cores in (("max 100000\n", None), ("150000 100000\n", 1.5), ("what\n", None), ("1 0\n", None)):
        path.write_text(text, encoding="ascii")
        assert machine.quota_cores(path) == cores
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    monkeypatch.setattr(machine, "quota_cores", lambda: 1.5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    check = machine.cores()
    assert "a quota of 1.5" in check.found
    assert check.status == WARN


@pytest.mark.parametrize(
    ("reasons", "status"),
    [
        ({"netns": None, "hook": None}, OK),
        ({"netns": "not root", "pace": None, "hook": None}, WARN),
        ({"netns": "not root", "hook": "no"}, WARN),
    ],
)
def test_emulation(reasons: dict[str, str | None], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "reasons", lambda: reasons)
    check = machine.emulation()
    assert check.status == status
    assert ("netns: not root" in check.found) is (reasons["netns"] is not None and "pace" in reasons)


def test_a_device_is_not_used_as_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cuda().status == (WARN if torch.cuda.is_available() else OK)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"device {index}")
    check = machine.cuda()
    assert (check.status, "device 0" in check.found) == (WARN, True)


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

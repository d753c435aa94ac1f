"""What `kimad doctor` looks at on a machine, one by one: what is well, what is a warning, what fails."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kimad.compressors import kernels
from kimad.launch.doctor import machine, software
from kimad.launch.doctor.check import FAIL, OK, WARN
from kimad.launch.doctor.software import Requirement, declared, within


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


def test_a_source_tree_that_is_not_installed_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "PACKAGE", "no-such-package-anywhere")
    assert declared() == []
    found = {check.name: check for check in (software.python(), software.packages(), software.extras())}
    assert {name: check.status for name, check in found.items()} == {"python": OK, "packages": WARN, "extras": WARN}
    assert f"torch {torch.__version__}" in found["packages"].found


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

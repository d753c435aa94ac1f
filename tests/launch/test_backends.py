"""Which backend a job gets, what is said about it, and where a worker of it sits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from kimad.launch import upkeep, workplace
from kimad.launch.backends import namespaces
from kimad.launch.backends.registry import BACKENDS, choose
from kimad.launch.errors import UsageError
from kimad.launch.job import Job
from kimad.launch.leftovers import Left, clean_up
from kimad.launch.workplace import PARENT_VARIABLE, places, take_place

JOB = Job("progress", "train.py", False, (), link="const:10", world_size=2, hosts=2)


@pytest.fixture
def nothing_but_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("netns", "userns"):
        monkeypatch.setattr(BACKENDS[name], "_probe", lambda path, name=name: f"no {name} today")
    monkeypatch.setattr("kimad.launch.backends.pace.sys.platform", "darwin")


def test_order_is_from_the_truest_to_the_one_that_always_works() -> None:
    assert list(BACKENDS) == ["netns", "userns", "pace", "hook"]


def test_auto_takes_the_first_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS["netns"], "_probe", lambda path: "not root")
    monkeypatch.setattr(BACKENDS["userns"], "_probe", lambda path: None)
    choice = choose("auto", JOB)
    assert (choice.backend.name, choice.passed_over) == ("userns", {"netns": "not root"})
    assert choose("hook", JOB).passed_over == {}


@pytest.mark.usefixtures("nothing_but_hook")
def test_auto_ends_with_hook() -> None:
    choice = choose("auto", JOB)
    assert choice.backend.name == "hook"
    assert choice.passed_over == {
        "netns": "no netns today",
        "userns": "no userns today",
        "pace": "it needs Linux, this is darwin",
    }
    with pytest.raises(UsageError, match="backend userns cannot work here: no userns today"):
        choose("userns", JOB)
    with pytest.raises(UsageError, match="no backend can emulate this here: netns: no netns today; userns"):
        choose("auto", replace(JOB, latency_ms=10))


def test_what_is_left_out_is_said() -> None:
    for backend in BACKENDS.values():
        assert "latency" in backend.not_modelled(JOB)
        assert "loss" in backend.not_modelled(JOB)
    far = replace(JOB, latency_ms=10, loss_percent=1, procs_per_host=2)
    assert "latency" not in BACKENDS["netns"].not_modelled(far)
    assert "loss" not in BACKENDS["netns"].not_modelled(far)
    assert "each has 1/2 of it, also inside the host" in BACKENDS["pace"].not_modelled(far)
    assert "each has 1/2 of it" in BACKENDS["hook"].not_modelled(far)


def test_places_are_those_of_as_many_machines() -> None:
    assert places(5, hosts=3, procs_per_host=2) == {
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "2",
        "GROUP_WORLD_SIZE": "3",
    }


def test_worker_goes_to_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []
    monkeypatch.setattr(namespaces, "enter", entered.append)
    environment = {"RANK": "3", "TORCHELASTIC_RESTART_COUNT": "2", namespaces.TAG_VARIABLE: "0123abcd"}
    take_place(replace(JOB, backend="netns", procs_per_host=2), environment)
    assert entered == ["kimad-0123abcd-h1"]
    assert environment["MASTER_ADDR"] == "10.77.0.1"
    assert environment["MASTER_PORT"] == "20002"  # another one after each restart
    assert environment["TORCHELASTIC_USE_AGENT_STORE"] == "False"
    assert environment["GLOO_SOCKET_IFNAME"] == "km0"
    plain = {"RANK": "3"}
    take_place(JOB, plain)  # of a run on the real network
    assert plain == {"RANK": "3"}


@pytest.mark.skipif(sys.platform != "linux", reason="a worker is tied to its launcher on Linux alone")
def test_worker_is_tied_to_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    tied: list[int] = []
    monkeypatch.setattr(workplace, "die_with", tied.append)
    mark = workplace.marker()
    assert mark.startswith(f"{os.getpid()}:")
    take_place(replace(JOB, backend="pace"), {"RANK": "0", PARENT_VARIABLE: mark})
    assert tied == [os.getpid()]


@pytest.mark.usefixtures("nothing_but_hook")
def test_check_says_what_works_and_why_the_rest_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep.upkeep(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["netns", "no"],
        ["userns", "no"],
        ["pace", "no"],
        ["hook", "works"],
    ]
    assert "no netns today" in lines[0]
    assert lines[4] == "auto takes hook"
    assert upkeep.upkeep(["--json", "--check"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["works"] for row in rows] == [False, False, False, True]
    assert [row["auto"] for row in rows] == [False, False, False, True]
    assert rows[2]["reason"] == "it needs Linux, this is darwin"
    assert err == ""


def test_clean_up_says_what_it_removed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(upkeep, "clean_up", lambda: Left(["kimad-0123abcd-br"], [77], ["`ip` failed: busy"]))
    assert upkeep.upkeep(["--cleanup"]) == 1
    out, err = capsys.readouterr()
    assert out == "removed 1 namespaces and ended 1 processes\n"
    assert err == "kimad emulate: `ip` failed: busy\n"
    monkeypatch.setattr(upkeep, "clean_up", Left)
    assert upkeep.upkeep(["--cleanup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"namespaces": [], "processes": [], "failures": []}


@pytest.mark.skipif(sys.platform != "linux", reason="other processes' environments are read on Linux")
def test_processes_of_a_launcher_that_is_gone_are_ended() -> None:
    def start(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={**os.environ, PARENT_VARIABLE: mark})

    ours = workplace.marker()
    gone = f"{os.getpid()}:{float(ours.split(':')[1]) - 100:.2f}"  # the number was used again
    living, orphan, strange = start(ours), start(gone), start("what is this")
    try:
        assert orphan.pid in clean_up().processes
        assert orphan.wait(5) == -9
        assert living.poll() is None
        assert strange.poll() is None
    finally:
        for process in (living, orphan, strange):
            process.kill()
            process.wait()

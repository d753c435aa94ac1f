"""The command line of `kimad simulate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kimad.launch.cli import main
from kimad.sim import simulate
from tests.sim.cases import scenario, workload

BASE = ["simulate", "--model", "resnet18", "-n", "2", "--link", "const:100", "--steps", "5"]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_a_table_and_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(BASE, capsys)
    assert code == 0
    lines = out.splitlines()
    assert "2 workers" in lines[0]
    code, out, _ = call([*BASE, "--json"], capsys)
    figures = json.loads(out)["strategies"]
    assert [line.split()[0] for line in lines[2:]] == list(figures)
    assert f"{figures['ddp']['mean_step_s']:.3g} s" in lines[2]
    assert {"ddp", "bf16", "topk:0.01", "powersgd:4", "kimad", "overlap:0.1", "error-bound:0.1"} <= set(figures)
    assert any(name.endswith("@uniform") for name in figures)


def test_a_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload().save(tmp_path / "small.npz")
    out = tmp_path / "out" / "deep"
    arguments = ["simulate", "--model", str(tmp_path / "small.npz"), "-n", "2", "--link", "const:50", "--steps", "40"]
    assert call([*arguments, "--strategy", "kimad", "--out", str(out)], capsys)[0] == 0
    figures = json.loads((out / "simulate.json").read_text())
    assert figures["strategies"]["kimad"] == simulate(scenario(50.0), "kimad").figures()
    assert len((out / "steps-kimad.csv").read_text().splitlines()) == 41
    assert sorted(p.name for p in out.iterdir()) == ["simulate.json", "simulate.png", "steps-kimad.csv"]
    assert (out / "simulate.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_all_but_the_plot_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = call([*BASE, "--strategy", "ddp", "--out", str(tmp_path / "out")], capsys)
    assert code == 0
    assert "pip install 'kimad[plot]'" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["simulate.json", "steps-ddp.csv"]


def test_bad_input_leaves_no_folder_and_takes_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = ["--steps", "1000000", "--strategy", "kimad", "--strategy", "best", "--out", str(tmp_path / "out")]
    code, out, err = call([*BASE, *many], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out").exists()


def test_many_links_are_not_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    links = [argument for i in range(1, 41) for argument in ("--link", f"const:{i}")]
    code, out, _ = call(
        ["simulate", "--model", "resnet18", "-n", "40", *links, "--steps", "1", "--strategy", "ddp"], capsys
    )
    assert code == 0
    assert "link const:1; const:2; const:3; const:4; and 36 more" in out.splitlines()[0]


def test_each_worker_can_have_its_own_link(capsys: pytest.CaptureFixture[str]) -> None:
    uneven = ["simulate", "--model", "resnet18", "-n", "2", "--steps", "3", "--strategy", "ddp", "--json"]
    _, both, _ = call([*uneven, "--link", "const:100", "--link", "const:10"], capsys)
    _, slow, _ = call([*uneven, "--link", "const:10"], capsys)
    assert json.loads(both)["strategies"] == json.loads(slow)["strategies"]


def test_computing_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call([*BASE, "--compute", "3", "--spread", "0", "--strategy", "ddp", "--json"], capsys)
    assert json.loads(out)["compute_s"] == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["simulate"], "Missing option '--model'"),
        ([*BASE, "--model", "vgg"], "neither a file nor one of resnet18"),
        ([*BASE, "--model", __file__], "not a workload file"),
        ([*BASE, "--model", __file__, "--spread", "0.1"], "known by name"),
        ([*BASE, "--link", "const:x"], "const:x"),
        ([*BASE, "--link", "const:1", "--link", "const:2"], "3"),
        ([*BASE, "--workers", "1"], "not in the range"),
        ([*BASE, "--steps", "0"], "not in the range"),
        ([*BASE, "--strategy", "best"], "strategy 'best' is not known"),
        ([*BASE, "--straggler", "often"], "SHARE,FACTOR"),
        ([*BASE, "--straggler", "2,2"], "straggler_share is 2.0"),
        ([*BASE, "--link", "const:0", "--strategy", "ddp", "-n", "3"], "links"),
        (["simulate", "--model", "resnet18", "--link", "const:0", "--strategy", "ddp"], "does not carry"),
        ([*BASE, "--out", __file__ + "/x"], "cannot be made"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(arguments, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("kimad simulate: ")
    assert err.count("\n") == 1
    assert what in err

"""What a run folder says, however incomplete it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kimad.launch.errors import UsageError
from kimad.launch.history import StepParser, read_history, read_steps
from kimad.launch.summary import read_records
from kimad.launch.truth import HEADER
from tests.launch.run_folders import START_S, adaptive, plain, step, write_records, write_run


def test_a_record_is_read_as_it_was_written() -> None:
    record = step(3)
    assert StepParser()(json.dumps(record.to_json())) == record


def test_a_run_in_columns(tmp_path: Path) -> None:
    history = read_history(write_run(tmp_path / "a", adaptive()))
    assert (history.name, len(history.steps), history.start_s) == ("a", 20, START_S)
    assert history.times_s.tolist() == [float(i + 1) for i in range(20)]
    assert history.measured("encode_s").tolist() == [0.4] * 20
    assert np.isnan(history.measured("nothing")).all()
    assert history.wire_bytes.tolist() == [2410.0] * 10 + [110.0] * 10
    assert np.isnan(history.link("mean_bps")[0])
    assert history.link("low_bps")[1] == pytest.approx(8e7)
    assert history.samples_bps[1:11].tolist() == [1e8] * 8 + [3e7] * 2
    assert np.isnan(history.predicted("step_s")[0])
    assert [(loss.t_s, loss.loss) for loss in history.losses[:2]] == [(1.0, 2.0), (2.0, 1.99)]
    assert [row.up_mbps for row in history.truth[0]] == [100.0] * 3
    assert history.config["link"] == "const:100"
    assert history.summary == {"exit_code": 0, "cause": None}


def test_layers_that_stay_are_kept_once(tmp_path: Path) -> None:
    steps = read_history(write_run(tmp_path, adaptive())).steps
    assert len({id(s.layers) for s in steps}) == 2


def test_small_lines_of_a_run_without_kimad(tmp_path: Path) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in plain())
    (tmp_path / "records.jsonl").write_text(lines, encoding="utf-8")
    history = read_history(tmp_path)
    assert [s.objective for s in history.steps] == ["off"] * 5
    assert np.isnan(history.link("mean_bps")).all()
    assert history.start_s == START_S - 1  # where the first step began, as no trace says more


def test_cut_and_strange_lines_are_left_out(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", adaptive()[:3])
    whole = (tmp_path / "records.jsonl").read_text(encoding="utf-8")
    wrong = [
        "",
        "[]",
        "7",
        "null",
        '{"step": 1}',
        "[" * 5000,
        whole.splitlines()[0].replace("1001.0", "NaN"),
        "\0\udcff",
    ]
    broken = "\n".join(wrong).encode("utf-8", "surrogateescape")
    (tmp_path / "records.jsonl").write_bytes(broken + b"\n" + whole.encode() + whole[:200].encode())
    assert [s.step for s in read_steps(tmp_path / "records.jsonl")] == [0, 1, 2]
    summary = read_records(tmp_path / "records.jsonl")
    assert summary is not None
    assert summary.steps == 3


def test_a_number_that_is_not_known_costs_no_step(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", adaptive()[:3])
    whole = (tmp_path / "records.jsonl").read_text(encoding="utf-8")
    without = whole.replace('"spread": 0.1', '"spread": Infinity').replace('"wire_s": 0.3', '"wire_s": NaN')
    assert without != whole
    (tmp_path / "records.jsonl").write_text(without, encoding="utf-8")
    history = read_history(tmp_path)
    assert [s.step for s in history.steps] == [0, 1, 2]
    assert np.isnan(history.link("spread")[1:]).all()
    assert np.isnan(history.measured("wire_s")).all()


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    (tmp_path / "start.txt").write_text("", encoding="utf-8")
    (tmp_path / "truth-host0.csv").write_text(HEADER, encoding="utf-8")
    history = read_history(tmp_path)
    assert (history.steps, history.summary, history.config, history.losses) == ((), None, {}, ())
    assert history.times_s.size == 0


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('{"monotonic_s": 1002.5, "loss": 1.5}', [(2.5, 1.5)]),
        ('{"t_s": 4, "loss": 1}', [(4.0, 1.0)]),
        ('{"t_s": 4, "loss": NaN}', []),
        ('{"t_s": 4}', []),
        ('{"loss": 4}', []),
        ("text", []),
    ],
)
def test_losses(tmp_path: Path, line: str, seen: list[tuple[float, float]]) -> None:
    write_run(tmp_path, adaptive(), losses=False)
    (tmp_path / "my.jsonl").write_text(f'{line}\n{{"los', encoding="utf-8")
    assert [(loss.t_s, loss.loss) for loss in read_history(tmp_path).losses] == seen


def test_further_models_stand_in_folders(tmp_path: Path) -> None:
    write_run(tmp_path / "run", adaptive())
    for name in ("model2", "model10", "model3"):
        (tmp_path / "run" / name).mkdir()
        write_records(tmp_path / "run" / name / "records.jsonl", adaptive()[:2])
    (tmp_path / "run" / "model4").mkdir()
    found = read_history(tmp_path / "run").models
    assert [model.name for model in found] == ["run/model2", "run/model3", "run/model10"]
    assert [len(model.steps) for model in found] == [2, 2, 2]
    assert found[0].losses == ()
    assert found[0].truth


def test_folders_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_history(tmp_path / "none")
    with pytest.raises(UsageError, match=r"neither config\.json nor records\.jsonl"):
        read_history(tmp_path)

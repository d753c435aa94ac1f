"""What `kimad top` knows of a run that grows, is written anew, or has ended."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kimad.launch.top.follow import LATEST, Follower
from kimad.launch.top.plain import page
from kimad.launch.top.sections import brief, headline, spark
from kimad.launch.top.snapshot import groups, snapshot
from kimad.launch.top.tail import Tail
from kimad.record import LayerRecord
from kimad.trace.figures import BLOCKS
from tests.launch.runs import START_S, begin, end, plain_record, record, write_records


def test_tail_hands_out_complete_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    tail = Tail(path)
    assert tail.read() == ([], False)
    path.write_text("one\ntw")
    assert tail.read() == (["one"], False)
    assert tail.read() == ([], False)
    with path.open("a") as file:
        file.write("o\n\xe9\u2028three\n")
    assert tail.read() == (["two", "\xe9\u2028three"], False)


@pytest.mark.parametrize("length", [1, 3, 40])
def test_tail_begins_anew(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lines"
    path.write_text("one\ntwo\nthree\n")
    tail = Tail(path)
    tail.read()
    path.write_text("".join(f"new {i}\n" for i in range(length)))  # cut and written again: shorter and longer
    assert tail.read() == ([f"new {i}" for i in range(length)], True)
    path.unlink()
    assert tail.read() == ([], True)
    path.write_text("again\n")
    assert tail.read() == (["again"], False)


def test_tail_sees_that_a_file_was_replaced_by_the_same_and_more(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("one\n")
    tail = Tail(path)
    tail.read()
    (tmp_path / "part").write_text("one\ntwo\n")
    os.replace(tmp_path / "part", path)
    assert tail.read() == (["one", "two"], True)


def test_a_growing_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    follower = Follower(folder)
    assert headline(snapshot(follower.look(), START_S)) == "waiting: no step yet"
    begin(folder, steps=3)
    shot = snapshot(follower.look(), START_S + 1.6)
    assert (shot.state, shot.step) == ("running", 2)
    assert shot.age_s == pytest.approx(0.1)
    write_records(folder, [record(3, measured={"step_s": 0.25}, predicted={})])
    shot = snapshot(follower.look(), START_S + 60)
    assert (shot.step, shot.step_s) == (3, 0.25)
    assert shot.mean_step_s == pytest.approx(1.75 / 4)
    assert "no step for 58 s" in headline(shot)
    assert "nothing predicted" in brief(shot)
    end(folder, exit_code=1, cause="rank 1 died")
    shot = snapshot(follower.look(), START_S + 60)
    assert shot.ended
    assert headline(shot).startswith("failed: rank 1 died; step 3")


def test_records_written_anew_replace_the_old_ones(tmp_path: Path) -> None:
    begin(tmp_path, steps=8)
    follower = Follower(tmp_path)
    assert len(follower.look().steps) == 8
    (tmp_path / "records.jsonl").write_text("")
    assert follower.look().steps == ()
    write_records(tmp_path, [record(0)])
    assert [step.step for step in follower.look().steps] == [0]


def test_figures(tmp_path: Path) -> None:
    begin(tmp_path)
    shot = snapshot(Follower(tmp_path).look(), START_S)
    last = record(29)
    assert shot.parts_s == pytest.approx({"compute": 0.3, "encode": 0.06, "wire": 0.1, "decode": 0.02, "wait": 0.02})
    assert shot.sent_bytes[-1] == last["wire_bytes"] + 1000
    assert shot.link.mean_bps[-1] == last["link"]["mean_bps"]
    assert shot.link.sample_bps[-1] == last["link"]["samples_bps"][0]
    truth_mbps = 180 + 150 * np.sin(np.arange(14.5, 15.0, 0.1) / 0.5 / 3)
    assert shot.link.truth_bps[-1] == pytest.approx(1e6 * truth_mbps.mean(), rel=0.02)
    assert shot.reason is not None
    assert shot.reason.startswith("step 2")


def test_truth_that_grows_is_read_on(tmp_path: Path) -> None:
    begin(tmp_path)
    follower = Follower(tmp_path)
    before = len(follower.look().truth[1])
    with (tmp_path / "truth-host1.csv").open("a") as file:
        file.write("5100.0,100.0,7.0,7.0,1,1\n5100.1,100.1,7.")
    rows = follower.look().truth[1]
    assert (len(rows), rows[-1].up_mbps) == (before + 1, 7.0)


def test_only_the_latest_steps_keep_their_layers(tmp_path: Path) -> None:
    write_records(tmp_path, [record(step) for step in range(LATEST + 5)])
    steps = Follower(tmp_path).look().steps
    assert [bool(step.layers) for step in steps] == [False] * 5 + [True] * LATEST
    assert steps[0].wire_bytes == record(0)["wire_bytes"]


def test_plain_ddp_has_no_layers(tmp_path: Path) -> None:
    write_records(tmp_path, [plain_record(0), plain_record(1)])
    text = page(snapshot(Follower(tmp_path).look(), START_S), BLOCKS)
    assert "plain DDP, as asked" in text
    assert "no decisions by layer" in text
    assert "nothing known" in text
    assert "nan" not in text.lower()


def layer(name: str, frame_bytes: int = 1) -> LayerRecord:
    return LayerRecord(name, "int8", 1.0, frame_bytes)


def test_layers_are_grouped_as_finely_as_there_is_room() -> None:
    some = [layer(f"body.{i}.{part}") for i in range(3) for part in ("weight", "bias")]
    assert [(g.name, g.layers) for g in groups(some, most=3)] == [("body.0", 2), ("body.1", 2), ("body.2", 2)]
    assert [g.name for g in groups(some, most=2)] == ["body"]
    assert len(groups(some, most=6)) == 6
    assert groups(()) == ()


def test_too_many_groups_are_put_together() -> None:
    many = [layer(f"layer{i}", i) for i in range(100)]
    found = groups(many, most=3)
    assert [(g.name, g.layers, g.frame_bytes) for g in found] == [
        ("layer98", 1, 98), ("layer99", 1, 99), ("98 others", 98, sum(range(98))),
    ]  # fmt: skip


def test_curves_have_a_common_scale() -> None:
    assert spark(np.array([0.0, np.nan, 50.0, 100.0, 900.0]), 100.0) == "_ ▄██"

"""Records of a step are plain data."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kimad.compressors import Option, wire_bytes
from kimad.layout import Layer
from kimad.plan import BFLOAT16, DROP, FLOAT32, Plan
from kimad.record import LayerRecord, LinkRecord, StepRecord, layer_records

LAYERS = [Layer("a", (10, 20)), Layer("b", (5,)), Layer("c", ()), Layer("d", (3,)), Layer("e", (0,))]
OPTIONS = [Option("topk", 50, "log4"), BFLOAT16, FLOAT32, DROP, Option("topk", 0, "int8")]


def test_layers_of_a_plan() -> None:
    plan = Plan(1, dict(zip("abcde", OPTIONS, strict=True)))
    assert layer_records(LAYERS, plan) == (
        LayerRecord("a", "topk:log4", 0.25, wire_bytes((10, 20), OPTIONS[0])),
        LayerRecord("b", "bfloat16", 1.0, 16 + 2 * 5),
        LayerRecord("c", "float32", 1.0, 16 + 4),
        LayerRecord("d", "drop", 0.0, wire_bytes((3,), DROP)),
        LayerRecord("e", "topk:int8", 0.0, wire_bytes((0,), OPTIONS[4])),
    )


def record(link: LinkRecord) -> StepRecord:
    return StepRecord(
        step=3, time_s=12.5, objective="progress", wire_bytes=100, control_bytes=20, dense_bytes=800, void=False,
        layers=(LayerRecord("a", "topk:log4", 0.25, 70),), link=link, measured={"step_s": 0.5},
        predicted={"step_s": 0.4}, residual_norm=1.5, gap=0.001, why="sparse, 4.1 MB",
    )  # fmt: skip


@pytest.mark.parametrize(
    "link", [LinkRecord(), LinkRecord(3e7, 2e7, 0.5, (3e7, None), 1000, 0.1)], ids=["unknown", "known"]
)
def test_a_record_is_json(link: LinkRecord) -> None:
    mine = record(link)
    read = json.loads(json.dumps(mine.to_json(), allow_nan=False))
    assert set(read) == {f.name for f in dataclasses.fields(StepRecord)}
    assert read["layers"] == [{"name": "a", "codec": "topk:log4", "density": 0.25, "frame_bytes": 70}]
    assert read["why"] == "sparse, 4.1 MB"
    assert read["link"]["samples_bps"] == list(link.samples_bps)
    assert read["link"]["mean_bps"] == link.mean_bps
    assert (read["measured"], read["predicted"], read["gap"]) == ({"step_s": 0.5}, {"step_s": 0.4}, 0.001)


def test_writing_a_record_does_not_share_it() -> None:
    mine = record(LinkRecord())
    written = mine.to_json()
    written["measured"]["step_s"] = 9.0  # type: ignore[index]
    assert mine.measured == {"step_s": 0.5}

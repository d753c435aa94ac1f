"""Workload files: there and back, and anything else refused by name."""

from __future__ import annotations

import dataclasses
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kimad.layout import Layer
from kimad.sim import Workload, WorkloadError
from tests.sim.cases import workload


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    mine = dataclasses.replace(workload(), coding={"topk": 1.5}, overhead_s={"fixed": 0.01}, note="here")
    mine.save(path)
    found = Workload.load(path)
    for field in dataclasses.fields(Workload):
        if field.name == "gradients":
            assert all(np.array_equal(a, b) for a, b in zip(mine.gradients, found.gradients, strict=True))
        elif field.name == "ready_s":
            assert np.array_equal(mine.ready_s, found.ready_s)
        else:
            assert getattr(mine, field.name) == getattr(found, field.name), field.name
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_computing_can_be_scaled() -> None:
    scaled = workload().with_compute(3.0)
    assert scaled.ready_s[:, :, -1].mean() == pytest.approx(3.0)
    assert scaled.ready_s / workload().ready_s == pytest.approx(np.full(scaled.ready_s.shape, 15.0), rel=0.2)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"layers": ()}, "no layers"),
        ({"buckets": ((0,),)}, "each of 12 layers once"),
        ({"buckets": ((0, 0), *((i,) for i in range(1, 12)))}, "each of 12 layers once"),
        ({"ready_s": np.zeros((2, 2))}, "ready_s has shape"),
        ({"ready_s": np.full((1, 1, 3), np.nan)}, "finite"),
        ({"ready_s": np.full((1, 1, 3), -1.0)}, "finite"),
        ({"layers": (Layer("same", (64,)),) * 12}, "two layers have one name"),
        ({"layers": (Layer("a", (-2, -32)), *workload().layers[1:])}, "entries of 4 bytes"),
        ({"layers": (Layer("a", (0,)), *workload().layers[1:])}, "entries of 4 bytes"),
        ({"layers": (Layer("a", (1 << 40,)), *workload().layers[1:])}, "entries of 4 bytes"),
        ({"layers": (Layer("a", (64,), itemsize=0), *workload().layers[1:])}, "entries of 0 bytes"),
        ({"coding": {"topk": float("nan")}}, "coding is"),
        ({"coding": {"topk": 0.0}}, "coding is"),
        ({"overhead_s": {"fixed": -1.0}}, "overhead_s is"),
        ({"overhead_s": {"reading": float("nan")}}, "overhead_s is"),
        ({"overhead_s": {"other": 1.0}}, "of fixed, adaptive, reading"),
        ({"gradients": ()}, "0 gradients"),
        ({"gradients": (np.full((5, 3), np.inf, np.float32),) * 12}, "must be finite"),
        ({"gradients": (np.zeros((5, 3), np.float32), *(np.zeros((4, 3), np.float32),) * 11)}, "samples of shape"),
    ],
)
def test_parts_must_fit(changes: dict[str, object], what: str) -> None:
    with pytest.raises(WorkloadError, match=what):
        dataclasses.replace(workload(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"{}", bytes(1000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=r"other\.npz"):
        Workload.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        Workload.load(tmp_path / "nothing.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("header.npy", "w") as member:
        for _ in range(1100):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 5 << 20
    with pytest.raises(WorkloadError, match="unpacks to more"):
        Workload.load(path)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    workload().save(whole)
    content = whole.read_bytes()
    chance = random.Random(4)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 30)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / "damaged.npz"
        path.write_bytes(bytes(damaged[: chance.randrange(len(damaged))] if chance.random() < 0.3 else damaged))
        try:
            Workload.load(path)
        except WorkloadError:
            refused += 1
    assert refused > 75

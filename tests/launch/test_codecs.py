"""`kimad bench codecs`, the gradients it reads and the one it brings."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kimad.compressors import ALL_COMPRESSORS, ALL_VALUE_CODES, Option, synthetic, wire_bytes
from kimad.launch.cli import main
from kimad.launch.codecs_measure import COUNTS, DENSITIES, Row, matrix_shape
from tests.sim.cases import workload

N = 5000
BASE = ["bench", "codecs", "--n", str(N)]
TIMES = ("encode_copies", "decode_copies", "encode_owed_copies")


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def rows_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    code, out, err = call([*arguments, "--json"], capsys)
    assert (code, err) == (0, "")
    return {row["name"]: row for row in json.loads(out)["rows"]}


def test_every_operator_and_setting_has_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    rows = rows_of(BASE, capsys)
    assert torch.get_num_threads() == threads
    wanted = set()
    for operator in ALL_COMPRESSORS:
        if operator.sparse:
            wanted |= {f"{operator.name}:{density:g}:log4" for density in DENSITIES}
            wanted |= {f"{operator.name}:0.01:{code.name}" for code in ALL_VALUE_CODES}
        elif operator.counts:
            wanted |= {f"{operator.name}:{count}" for count in COUNTS[operator.counts]}
        else:
            wanted.add(operator.name)
    assert set(rows) == wanted
    for row in rows.values():
        assert set(row) == {field.name for field in fields(Row)}
        assert all(math.isfinite(row[name]) and row[name] > 0 for name in TIMES)
        assert row["error"] >= 0
        assert row["file_error"] is None
    missing = {name for name, row in rows.items() if row["compression_factor"] is None}
    assert missing == {"drop"}


def test_figures_are_those_of_the_operators(capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(BASE, capsys)
    size = wire_bytes((N,), Option("topk", 500, "log4"))
    topk = rows["topk:0.1:log4"]
    assert (topk["wire_bytes"], topk["density"]) == (size, 0.1)
    assert topk["bytes_per_kept"] == pytest.approx(size / 500)
    assert topk["compression_factor"] == pytest.approx(4 * N / size)
    blocks = wire_bytes((N,), Option("blocktopk", 500, "log4"))
    assert rows["blocktopk:0.1:log4"]["bytes_per_kept"] == pytest.approx(blocks / (500 // 32 * 32))
    matrix = matrix_shape(N)
    low_rank = rows["lowrank:4"]
    assert low_rank["compression_factor"] == pytest.approx(4 * math.prod(matrix) / low_rank["wire_bytes"])
    assert low_rank["wire_bytes"] == wire_bytes(matrix, Option("lowrank", 4, "float32"))
    assert (rows["float32"]["error"], rows["drop"]["error"]) == (0, 1)
    assert rows["threshold:0.1:log4"]["error"] == topk["error"]  # its threshold lets as many through
    errors = [rows[name]["error"] for name in ("topk:0.001:log4", "topk:0.01:log4", "topk:0.1:log4", "int8")]
    assert errors == sorted(errors, reverse=True)
    assert [rows[name]["density"] for name in ("drop", "int8", "lowrank:1")] == [0, 1, None]


def test_the_table_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(BASE, capsys)
    code, out, _ = call(BASE, capsys)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(rows)
    line = next(line for line in lines if line.startswith("topk:0.01:int8")).split()
    row = rows["topk:0.01:int8"]
    shown = [f"{row['bytes_per_kept']:.2f}", f"{row['compression_factor']:.1f}", f"{row['error']:.2g}"]
    assert line[:5] == [row["name"], "0.01", *shown]
    assert len(line) == 8


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    rows = rows_of([*BASE, "--out", str(out)], capsys)
    assert sorted(p.name for p in out.iterdir()) == ["codecs.json", "codecs.md", "codecs.png"]
    assert (out / "codecs.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [row["name"] for row in json.loads((out / "codecs.json").read_text())["rows"]] == list(rows)
    lines = [line for line in (out / "codecs.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split()[1] for line in lines[2:]] == list(rows)


def test_without_matplotlib_all_but_the_plot_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = call([*BASE, "--out", str(tmp_path / "out")], capsys)
    assert code == 0
    assert "pip install 'kimad[plot]'" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["codecs.json", "codecs.md"]


def product() -> np.ndarray[Any, np.dtype[np.float64]]:
    """A matrix of rank one."""
    rng = np.random.default_rng(0)
    return np.outer(rng.standard_normal(60), rng.standard_normal(50))


FILES: dict[str, Callable[[Path], object]] = {
    "array.npy": lambda path: np.save(path, product()),
    "swapped.npy": lambda path: np.save(path, product().astype(">f4")),
    "tensor.pt": lambda path: torch.save(torch.from_numpy(product()).to(torch.float16), path),
    "dict.pt": lambda path: torch.save(
        {
            "weight": torch.nn.Parameter(torch.from_numpy(product())),
            "steps": torch.tensor(3),
            "scalar": torch.tensor(0.5),
            "nothing": torch.zeros(0),
        },
        path,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_gradient_is_taken_in_its_own_shape(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FILES[name](tmp_path / name)
    rows = rows_of([*BASE, "--gradient", str(tmp_path / name)], capsys)
    assert rows["lowrank:1"]["file_error"] < 1e-5  # float16 leaves no more beside rank one
    assert rows["lowrank:1"]["error"] > 0.5
    assert (rows["float32"]["file_error"], rows["drop"]["file_error"]) == (0, 1)
    assert 0 < rows["int4"]["file_error"] < 0.1
    code, out, _ = call([*BASE, "--gradient", str(tmp_path / name)], capsys)
    assert (code, len(out.splitlines()[2].split())) == (0, 9)


def test_samples_of_a_profile_are_no_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload().save(tmp_path / "profile.npz")
    out = tmp_path / "out"
    rows = rows_of([*BASE, "--gradient", str(tmp_path / "profile.npz"), "--out", str(out)], capsys)
    assert {name for name, row in rows.items() if row["file_error"] is None} == {"lowrank:1", "lowrank:4"}
    assert 0 < rows["topk:0.1:log4"]["file_error"] < 1
    assert (out / "codecs.png").stat().st_size > 0


def test_error_is_known_exactly_where_it_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 1000 equal magnitudes, the sign and one magnitude tell all; 10 of them hold a hundredth of the energy."""
    torch.save(torch.tensor([1.0, -1.0]).repeat(500), tmp_path / "signs.pt")
    rows = rows_of([*BASE, "--gradient", str(tmp_path / "signs.pt")], capsys)
    assert rows["sign"]["file_error"] == 0
    assert rows["topk:0.01:float32"]["file_error"] == pytest.approx(0.99)


def save_huge_header(path: Path) -> None:
    """An array of a petabyte, as far as its header goes."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 48,)})


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.npy": (lambda path: path.write_text("no array"), "cannot be read"),
    "objects.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "cannot be read"),
    "huge.npy": (save_huge_header, "cannot be read"),
    "integers.npy": (lambda path: np.save(path, np.arange(9)), "int64; it must hold floats"),
    "nan.npy": (lambda path: np.save(path, np.array([1.0, math.nan])), "NaN or infinity"),
    "large.npy": (lambda path: np.save(path, np.array([1e300])), "NaN or infinity"),
    "zeros.npy": (lambda path: np.save(path, np.zeros(9)), "no number but zero"),
    "empty.npy": (lambda path: np.save(path, np.zeros(0)), "no number but zero"),
    "text.pt": (lambda path: path.write_text("no tensor"), "cannot be read"),
    "list.pt": (lambda path: torch.save([torch.ones(3)], path), "holds a list"),
    "nested.pt": (lambda path: torch.save({"state": {"a": torch.ones(3)}}, path), "holds a dict as 'state'"),
    "sparse.pt": (lambda path: torch.save(torch.eye(3).to_sparse(), path), "must be dense"),
    "text.npz": (lambda path: path.write_text("no archive"), "not a workload file"),
    "gradient.csv": (lambda path: path.write_text("1,2"), "no known kind"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, what = BAD[name]
    make(tmp_path / name)
    code, out, err = call([*BASE, "--gradient", str(tmp_path / name), "--out", str(tmp_path / "out")], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("kimad bench: ")
    assert name in err
    assert what in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--n", "0"], "not in the range"),
        (["--n", "1023"], "not in the range"),
        (["--n", "many"], "not a valid integer"),
        (["--n", str(1 << 40)], "not in the range"),
        (["--repeats", "4"], "not in the range"),
        (["--gradient", "nowhere.npy"], "does not exist"),
        (["--gradient", "/"], "is a directory"),
        (["--out", __file__], "is a file"),
        (["--out", __file__ + "/x"], "cannot be made"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call([*BASE, *arguments], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("kimad bench: ")
    assert what in err


def test_more_than_memory_holds_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1 << 17

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    code, _, err = call(BASE, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "give fewer" in err


def test_the_synthetic_gradient_follows_from_its_seed() -> None:
    values = synthetic.gradient(10_007, 3)
    assert (values.dtype, values.shape) == (torch.float32, (10_007,))
    assert torch.equal(values, synthetic.gradient(10_007, 3))
    assert not torch.equal(values, synthetic.gradient(10_007, 4))
    assert [synthetic.gradient(n).numel() for n in (0, 1, 63)] == [0, 1, 63]


def test_the_synthetic_gradient_is_as_described() -> None:
    n = 1 << 20
    values = synthetic.gradient(n).numpy().astype(np.float64)
    assert (values == 0).mean() == pytest.approx(synthetic.ZEROS, abs=0.001)
    layers = np.abs(values).reshape(synthetic.LAYERS, -1)
    medians = np.median(layers, axis=1)
    assert medians.max() / medians.min() == pytest.approx(synthetic.SCALES, rel=0.2)
    energy = np.sort(values**2)[::-1].cumsum() / (values**2).sum()
    shares = [energy[n // part] for part in (1000, 100, 10)]
    assert shares == pytest.approx([0.27, 0.55, 0.89], abs=0.03)  # normal values of one scale have less than half
    logarithms = np.log(np.where(layers > 0, layers, np.nan))
    logarithms -= np.nanmean(logarithms, axis=1, keepdims=True)
    apart = {d: float(np.nanmean(logarithms[:, d:] * logarithms[:, :-d])) for d in (1, 2 * synthetic.RUN)}
    assert apart[1] == pytest.approx(synthetic.SPREAD**2, rel=0.1)  # of neighbours; further away there is none
    assert abs(apart[2 * synthetic.RUN]) < 0.02

"""The account of the links is read as it was written, and t = 0 is agreed on once."""

from __future__ import annotations

import math
from pathlib import Path

from kimad.launch.truth import (
    HEADER,
    TruthRow,
    agree_on_start,
    known_start,
    open_truth,
    read_rows,
    read_truth,
    truth_path,
)

ROWS = [
    TruthRow(100.5, 0.0, 30.0, math.inf, 0, None),
    TruthRow(100.6, 0.1, 0.0, 12.25, 1234, 99),
    TruthRow(100.7, 0.2, 1e4, 0.0),
]


def test_rows_are_read_back(tmp_path: Path) -> None:
    with open_truth(truth_path(tmp_path, 3)) as file:
        file.write(f"{ROWS[0]}\n")
    with open_truth(truth_path(tmp_path, 3)) as file:  # a worker that was started anew goes on
        file.writelines(f"{row}\n" for row in ROWS[1:])
    assert truth_path(tmp_path, 3).read_text(encoding="utf-8").count(HEADER) == 1
    assert read_truth(tmp_path) == {3: ROWS}
    assert all(math.isclose(row.start_monotonic_s, 100.5) for row in ROWS)


def test_hosts_are_in_order_and_other_files_are_left_out(tmp_path: Path) -> None:
    for host in (10, 2, 0):
        with open_truth(truth_path(tmp_path, host)) as file:
            file.write(f"{ROWS[0]}\n")
    (tmp_path / "truth-hostile.csv").write_text("x\n", encoding="utf-8")
    assert list(read_truth(tmp_path)) == [0, 2, 10]


def test_line_that_was_cut_off_is_left_out_and_more_columns_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "truth-host0.csv"
    path.write_text(f"{HEADER},more\n{ROWS[1]},7\n100.7,0.2,5", encoding="utf-8")
    assert list(read_rows(path)) == [ROWS[1]]
    path.write_bytes(f"{HEADER}\n{ROWS[1]}\n100.7,0.2,5\xff,1,,\n".encode("latin-1"))
    assert list(read_rows(path)) == [ROWS[1]]
    path.write_text("", encoding="utf-8")
    assert list(read_rows(path)) == []


def test_first_start_holds(tmp_path: Path) -> None:
    assert known_start(tmp_path) is None
    assert agree_on_start(tmp_path, 12.345678901234) == 12.345678901234
    assert agree_on_start(tmp_path, 99.0) == 12.345678901234
    assert known_start(tmp_path) == 12.345678901234
    assert len(list(tmp_path.iterdir())) == 1

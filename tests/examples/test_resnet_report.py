"""What the ResNet example's report makes of logs."""

import json
import math
from pathlib import Path

import pytest

from examples.resnet.report import (
    Row,
    Run,
    as_json,
    bytes_per_step,
    operating_point,
    percentile_95,
    read_run,
    running_mean,
    summarise,
    table,
    time_to_loss,
)
from kimad.launch.truth import HEADER, TruthRow

SUMMARY_KEYS = ["name", "mean_step_s", "p95_step_s", "wire_bytes_per_step", "final_loss", "time_to_loss_s"]


def run_of(name: str, losses: list[float], step_s: float = 0.5, step_bytes: int = 1_000) -> Run:
    """A run whose steps follow each other without a gap, and whose link is read at the end of each."""
    ends_s = [step_s * (index + 1) for index in range(len(losses))]
    starts_s = [0.0, *ends_s]
    samples = [TruthRow(100.0 + at_s, at_s, 30.0, math.inf, step_bytes * index) for index, at_s in enumerate(starts_s)]
    return Run(
        name=name,
        t_s=tuple(ends_s),
        monotonic_s=tuple(100.0 + end_s for end_s in ends_s),
        step_s=(step_s,) * len(losses),
        loss=tuple(losses),
        link=tuple(samples),
    )


def write_run(folder: Path, run: Run) -> None:
    """The two files that a run leaves."""
    folder.mkdir(parents=True)
    steps = zip(run.t_s, run.monotonic_s, run.step_s, run.loss, strict=True)
    (folder / "steps.jsonl").write_text(
        "".join(
            json.dumps({"step": index + 1, "t_s": t_s, "monotonic_s": at_s, "step_s": step_s, "loss": loss}) + "\n"
            for index, (t_s, at_s, step_s, loss) in enumerate(steps)
        )
    )
    (folder / "truth-host0.csv").write_text("\n".join([HEADER, *map(str, run.link)]) + "\n")


def test_the_running_mean_starts_with_a_full_window() -> None:
    assert running_mean([4.0, 2.0, 0.0, 4.0], window=3) == [None, None, 2.0, 2.0]


def test_the_time_to_loss_is_the_first_step_whose_running_mean_is_at_the_target() -> None:
    losses = [2.0] * 10 + [0.0] * 10
    assert time_to_loss(run_of("a", losses), target=1.0) == pytest.approx(0.5 * 15)


def test_a_single_low_loss_is_not_the_target_reached() -> None:
    assert time_to_loss(run_of("a", [2.0] * 9 + [0.0] + [2.0] * 9), target=0.5) is None


def test_the_first_run_sets_the_target_and_a_run_that_misses_it_says_so() -> None:
    falling = [1.0 - 0.02 * index for index in range(40)]
    first, missing = summarise([run_of("ddp", falling), run_of("kimad", [1.0] * 40)])
    assert first.time_to_loss_s == pytest.approx(0.5 * 40)
    assert missing.time_to_loss_s is None
    assert "not reached" in table([first, missing])


def test_the_wire_bytes_are_the_sockets_total_over_the_steps() -> None:
    (row,) = summarise([run_of("ddp", [1.0] * 20, step_bytes=44_700)])
    assert row.wire_bytes_per_step == 44_700


def test_the_bytes_of_each_step_come_from_the_link_between_its_ends() -> None:
    assert bytes_per_step(run_of("ddp", [1.0] * 5, step_bytes=700)) == pytest.approx([700.0] * 5)


def test_the_95th_percentile() -> None:
    assert percentile_95([float(value) for value in range(101)]) == pytest.approx(95.0)
    assert percentile_95([3.0]) == 3.0


def test_the_summary_has_exactly_its_keys() -> None:
    (row,) = json.loads(as_json([Row("ddp", 2.0, 4.0, 44.7e6, 0.2, None)]))
    assert list(row) == SUMMARY_KEYS
    assert row["time_to_loss_s"] is None


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    run = run_of("ddp", [1.0, 0.5, 0.25])
    write_run(tmp_path / "ddp", run)
    assert read_run(tmp_path / "ddp", "ddp") == run


def test_an_empty_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_run(tmp_path / "ddp", run_of("ddp", []))
    with pytest.raises(ValueError, match=r"steps\.jsonl"):
        read_run(tmp_path / "ddp", "ddp")


def test_the_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from examples.resnet.plot import draw

    falling = [2.0 / (1 + index) for index in range(30)]
    draw([run_of("ddp", falling), run_of("kimad", falling, step_s=0.2)], tmp_path / "loss_and_link.png")
    assert (tmp_path / "loss_and_link.png").read_bytes().startswith(b"\x89PNG")


def test_the_operating_point_is_read_off_the_records(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    steps = [{"measured": {"compute_s": c}, "dense_bytes": 45_000_000} for c in (0.3, 0.4, 9.0)]
    records.write_text("\n".join(json.dumps(step) for step in steps))
    point = operating_point(records, 180.0)
    assert (point.dense_s, point.compute_s, point.rho) == pytest.approx((2.0, 0.4, 5.0))
    assert "rho = 5.0" in str(point)

"""What `kimad emulate` says about its links at the end, and when that is an error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kimad.launch.backends.backend import ShapingReport
from kimad.launch.emulate import _verify
from kimad.launch.process import Ending
from kimad.launch.rank_report import RankReport
from kimad.launch.run import Outcome

GOOD = ShapingReport(2, 3.0, 5_000_000, 1.0, 900, 1000, 0.01, None)
FAST = replace(GOOD, worst_sent_bytes=1100)
RANK = RankReport(0, 2, ddp_models=1, attached=1, ended=True)


def outcome(*reports: RankReport) -> Outcome:
    return Outcome(Ending(0), {report.rank: report for report in reports}, None)


def test_links_that_kept_to_the_trace_are_counted_and_a_few_shown(capsys: pytest.CaptureFixture[str]) -> None:
    links = {f"host {host} up": GOOD for host in range(10)}
    assert _verify(outcome(RANK), links, "")
    errors = capsys.readouterr().err
    assert errors.count("kept to the trace: worst second") == 8
    assert "2 more kept to the trace" in errors


def test_link_that_was_too_fast_is_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    links = {**{f"host {host} up": GOOD for host in range(10)}, "host 10 up": FAST}
    assert _verify(outcome(RANK), links, "")
    first = capsys.readouterr().err.splitlines()[0]
    assert "host 10 up: sent 5 MB over 2 sockets in 3.0 s; FASTER THAN THE TRACE" in first


@pytest.mark.parametrize(
    ("report", "shaped", "said"),
    [
        (replace(RANK, shaping=GOOD), True, "rank 0: sent 5 MB over 2 sockets in 3.0 s; kept to the trace"),
        (replace(RANK, shaping=replace(GOOD, failure="OSError: gone")), False, "shaping ended early: OSError: gone"),
        (replace(RANK, shaping=replace(GOOD, sockets=0)), False, "rank 0: error: nothing was shaped: use another"),
        (RANK, True, "no report on the link"),
        (replace(RANK, ended=False), False, "no report on the link, the process ended early"),
        (replace(RANK, shaping=replace(GOOD, worst_allowed_bytes=0)), True, "rank 0: sent 5 MB in 3.0 s"),
    ],
)
def test_ranks_that_shape_themselves(
    report: RankReport, shaped: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _verify(outcome(report, replace(RANK, rank=1, shaping=GOOD)), {}, "use another") is shaped
    assert said in capsys.readouterr().err


def test_nothing_to_shape_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert _verify(outcome(replace(RANK, ddp_models=0)), {}, "")
    assert _verify(outcome(replace(RANK, world_size=1)), {}, "")
    assert capsys.readouterr().err == ""

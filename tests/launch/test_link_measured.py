"""`kimad bench link` from end to end: on shaped links it finds their rates, on this machine it finds some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.launch.programs import environment, kimad

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces and pacing need Linux"),
    pytest.mark.usefixtures("leaves_nothing"),
]
WITHIN = 0.1


def by_ends(figures: dict[str, Any]) -> dict[tuple[int, int], dict[str, float]]:
    return {(row["source"], row["target"]): row for row in figures["links"]}


@pytest.mark.parametrize("backend", ["netns", "userns", "pace", "hook"])
def test_a_shaped_link_has_the_rate_that_it_was_given(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if backend in ("netns", "userns"):
        request.getfixturevalue(backend)
    options = ["-n", "2", "--link", "const:100", "--backend", backend, "--seconds", "1", "--json"]
    done = kimad("bench", "link", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["ranks"], figures["backend"], figures["link"]) == (2, backend, ["const:100"])
    rows = by_ends(figures)
    assert set(rows) == {(0, 1), (1, 0)}
    for row in rows.values():
        assert row["alone_bps"] == pytest.approx(100e6, rel=WITHIN)
        assert row["both_bps"] == pytest.approx(100e6, rel=WITHIN)
        assert 0 < row["round_trip_s"] < 1
    assert f"kimad bench link: link const:100 by backend {backend}" in done.stderr
    assert "no DistributedDataParallel" not in done.stderr
    assert "attached to no model" not in done.stderr


def test_what_the_ranks_print_is_not_among_the_figures(tmp_path: Path) -> None:
    """As gloo does in some versions of torch."""
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'RANK' in os.environ:\n    print('one rank')\n")
    call = [sys.executable, "-m", "kimad.launch", "bench", "link", "--standalone", "--seconds", "0.05", "--json"]
    paths = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = subprocess.run(
        call, env={**environment(), "PYTHONPATH": paths}, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["links"]) == 2
    assert done.stderr.count("one rank") == 2


@pytest.mark.usefixtures("netns")
def test_directions_are_told_apart(tmp_path: Path) -> None:
    """Host 0 sends at 40 Mbit/s and receives at 120; host 1 has 200 each way."""
    options = ["--link", "const:40/const:120;const:200", "--backend", "netns", "--seconds", "2", "--out", "found"]
    done = kimad("bench", "link", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = by_ends(json.loads((tmp_path / "found" / "link.json").read_text(encoding="utf-8")))
    for name in ("alone_bps", "both_bps"):
        assert rows[0, 1][name] == pytest.approx(40e6, rel=WITHIN)
        assert rows[1, 0][name] == pytest.approx(120e6, rel=WITHIN)
    assert done.stdout.splitlines()[-1].startswith("slowest with both directions at work: 0 -> 1, ")
    table = (tmp_path / "found" / "link.md").read_text(encoding="utf-8")
    assert table.startswith("| link | alone | both ways at once | round trip |\n| --- | ---: |")
    assert table.count("\n| ") == 3


def test_three_ranks_on_this_machine(tmp_path: Path) -> None:
    done = kimad("bench", "link", "-n", "3", "--seconds", "0.1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) == {"ranks", "hosts", "seconds", "piece_bytes", "links", "link", "backend"}
    assert (figures["ranks"], figures["seconds"], figures["piece_bytes"]) == (3, 0.1, 1 << 18)
    assert (figures["link"], figures["backend"]) == (None, None)
    assert len(figures["hosts"]) == 3
    assert len(set(figures["hosts"])) == 1
    assert set(by_ends(figures)) == {(a, b) for a in range(3) for b in range(3) if a != b}
    for row in figures["links"]:
        assert set(row) == {"source", "target", "alone_bps", "both_bps", "round_trip_s"}
        assert min(row["alone_bps"], row["both_bps"], row["round_trip_s"]) > 0
    assert "pair 3 of 3: ranks 1 and 2" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_launchers_meet_as_on_two_machines(tmp_path: Path) -> None:
    """torchrun's options are passed on; the machine with rank 0 prints, the other one says so."""
    meet = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    options = [*meet, "--rdzv-id", "link", "--local-addr", "127.0.0.1", "--seconds", "0.1", "--json"]
    call = [sys.executable, "-m", "kimad.launch", "bench", "link", *options]
    both = [subprocess.Popen(call, cwd=tmp_path, env=environment(), stdout=-1, stderr=-1, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=50) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    (printed,) = (out for out, _ in answers if out)
    assert set(by_ends(json.loads(printed))) == {(0, 1), (1, 0)}
    (silent,) = (err for out, err in answers if not out)
    assert "rank 0 is on another machine, where the figures are printed" in silent


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_rank_that_is_killed_ends_it_with_its_name(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "kimad.launch", "bench", "link", "-n", "3", "--seconds", "30"]
    process = subprocess.Popen(call, cwd=tmp_path, env=environment(), stdout=-1, stderr=-1, text=True)
    assert process.stderr is not None
    heard = ""
    while "pair 1 of 3: ranks 0 and 1" not in heard:  # the test's timeout ends a wait without end
        line = process.stderr.readline()
        assert line, heard
        heard += line
    time.sleep(0.5)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if "RANK" in child.environ()]
    (victim,) = (child for child in workers if child.environ()["RANK"] == "1")
    victim.kill()
    out, rest = process.communicate(timeout=50)
    assert process.returncode == 137
    assert out == ""
    assert "kimad bench link: rank 1 was killed by SIGKILL" in rest
    assert "Traceback" not in heard + rest

"""`kimad bench link`: what it refuses, how much it sends, which ranks it pairs, how a loss is told, how it prints."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import pytest
import torch

from kimad.launch.cli import main
from kimad.launch.link import program
from kimad.launch.link.measure import Found
from kimad.launch.link.program import gather_names, pairs_of
from kimad.launch.link.result import LinkRow, Result, rate, rows_of
from kimad.launch.link.rounds import GROWTH, MAX_BYTES, START_BYTES, Arrival, Rounds


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train.py", "'train.py' is given; bench link takes options alone, it runs no script"),
        ("--bogus", "--bogus"),
        ("-n many", "invalid int value: 'many'"),
        ("-n 0", "--nproc-per-node is '0'; it must be 1 or more"),
        ("-n 1", "1 rank is asked for; a link needs 2 or more"),
        ("-n 2 --nproc-per-node 3", "--nproc-per-node is 3, -n is 2; give one of them"),
        ("--nnodes 3:1", "--nnodes is '3:1'"),
        ("--seconds 0", "--seconds is 0; allowed: 0.05 to 60 seconds"),
        ("--seconds nan", "--seconds is nan"),
        ("--timeout 0.1", "--timeout is 0.1; allowed: 1 to 3600 seconds"),
        ("--pairs some", "invalid choice: 'some'"),
        ("--out there.txt", "--out 'there.txt' cannot be made: "),
        ("--queue-ms 20", "--queue-ms is given without --link; it is for an emulated network"),
        ("--backend pace", "--backend is given without --link"),
        ("-n 2 --link const:nan", "link const: MBPS is nan"),
        ("-n 2 --link const:1;const:2;const:3", "3 links for 2 hosts"),
        ("-n 2 --link const:1 --backend smoke", "backend 'smoke' is not known; allowed: auto"),
        ("-n 2 --link const:1 --nnodes 2", "--nnodes is 2"),
        ("-n 1 --link const:1", "1 rank is asked for"),
    ],
)
def test_bad_input_is_one_line(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "link", *line.split()])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert said in err
    assert err.startswith("kimad bench: ")
    assert err.count("\n") == 1
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["there.txt"]


@pytest.mark.parametrize("bps", [1e4, 1e6, 1e8, 1e10, 1e12])
def test_sizes_grow_until_they_take_long_enough(bps: float) -> None:
    """A link of this rate; the whole takes about the seconds that were asked for, however fast it is."""
    rounds, sizes, took_s = Rounds(1.0), [], 0.0
    while not rounds.done:
        size = rounds.next_bytes
        sizes.append(size)
        rounds.add(Arrival(size, 8 * size / bps))
        took_s += 8 * size / bps
        assert len(sizes) < 300
    assert rounds.total.bps == pytest.approx(bps)
    assert all(START_BYTES <= size <= MAX_BYTES for size in sizes)
    assert all(after <= GROWTH * before for before, after in pairwise(sizes))
    assert 0.8 <= took_s <= max(2.0, 8 * START_BYTES / bps)


def test_what_a_buffer_swallows_does_not_count() -> None:
    """The first 500 kB arrive at once, behind them come 10 Mbit/s."""
    rounds = Rounds(1.0)
    swallowed = 500_000
    while not rounds.done:
        size = rounds.next_bytes
        slow = max(0, size - swallowed)
        rounds.add(Arrival(size, 1e-5 + 8 * slow / 10e6))
        swallowed = max(0, swallowed - size)
    assert rounds.total.bps == pytest.approx(10e6, rel=0.6)


def test_nothing_that_arrives_has_no_rate() -> None:
    assert Arrival().bps == 0


def test_pairs() -> None:
    every = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert pairs_of(4, "auto") == pairs_of(4, "all") == every
    assert pairs_of(4, "ring") == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert pairs_of(5, "auto") == pairs_of(5, "ring") == [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]
    assert pairs_of(2, "ring") == [(0, 1)]


@final
class Gone:
    """A group whose other members are gone."""

    def rank(self) -> int:
        return 1

    def size(self) -> int:
        return 3

    def send(self, tensors: Any, rank: int, tag: int) -> Gone:
        return self

    def recv(self, tensors: Any, rank: int, tag: int) -> Gone:
        return self

    def allgather(self, outputs: Any, inputs: Any) -> Gone:
        return self

    def allreduce(self, tensors: Any) -> Gone:
        return self

    def broadcast(self, tensors: Any) -> Gone:
        return self

    def wait(self) -> object:
        raise RuntimeError("[/here/pair.cc:123] Connection closed by peer [127.0.0.1]:77. This is typical\nand more")


def test_a_peer_that_is_lost_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.measure(Gone(), 0, 1, 1.0)
    assert ended.value.code == 1
    with pytest.raises(SystemExit):
        program.measure(Gone(), 1, 2, 1.0)
    with pytest.raises(SystemExit):
        program.share(Gone(), None, 0, "ranks 0 and 2 were measured")
    with pytest.raises(SystemExit):
        gather_names(Gone(), "here")
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first == (
        "kimad bench link: rank 1 has lost rank 0, or nothing came from it in time: Connection closed by peer "
        "[127.0.0.1]:77; see whether it runs, and what the network between them does"
    )
    assert "rank 1 has lost rank 2" in second
    assert "rank 1 has lost another rank while ranks 0 and 2 were measured: " in third
    assert "while the ranks met" in fourth


@final
class Alone:
    """A group of one, whose gathering gives back what it got."""

    def rank(self) -> int:
        return 0

    def size(self) -> int:
        return 1

    def allgather(self, outputs: list[list[torch.Tensor]], inputs: list[torch.Tensor]) -> Alone:
        outputs[0][0].copy_(inputs[0])
        return self

    def wait(self) -> object:
        return True


def test_names_and_figures_are_shared_as_they_are() -> None:
    group: Any = Alone()
    assert gather_names(group, "knöten-7") == ["knöten-7"]
    assert gather_names(group, "") == [""]
    assert gather_names(group, "x" * 200) == ["x" * 64]
    found = Found(1e8, 2e8, 0.9e8, 1.9e8, 0.0123)
    assert program.share(group, found, 0, "") == found


def test_table_and_json_have_all_that_was_found() -> None:
    rows = (*rows_of(0, 1, Found(95e6, 47e6, 94e6, 20.5e6, 0.0004)), LinkRow(2, 0, 5e9, 4e9, 0.25))
    result = Result(("a", "b", "a"), 1.0, 256 << 10, rows)
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert result.to_json()["ranks"] == 3
    assert result.slowest == rows[1]
    assert result.table() == [
        ("link", "alone", "both ways at once", "round trip"),
        ("0 (a) -> 1 (b)", "95 Mbit/s", "94 Mbit/s", "0.4 ms"),
        ("1 (b) -> 0 (a)", "47 Mbit/s", "20.5 Mbit/s", "0.4 ms"),
        ("2 (a) -> 0 (a)", "5000 Mbit/s", "4000 Mbit/s", "0.25 s"),
    ]
    title, verdict = result.lines()
    assert title == "3 ranks over gloo, 256 KiB a message, 1 s a figure; rates are those of the payload"
    assert verdict == "slowest with both directions at work: 1 (b) -> 0 (a), 20.5 Mbit/s"
    assert Result(("a", "a", "a"), 1.0, 1, rows).table()[1][0] == "0 -> 1"
    assert rate(0) == "0 Mbit/s"

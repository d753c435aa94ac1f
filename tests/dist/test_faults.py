"""A failure on one rank ends on every rank, with rank and cause named: no hang, no abort, no wrong gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, final

import pytest
from torch import Tensor

import kimad
from kimad.group import Work
from tests.dist.forked import run_forked
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, swap, train, wrap

pytestmark = pytest.mark.torch

OUTAGE_S = 20.0  # what a rank would wait for a peer that says nothing
SOON_S = 10.0  # far above what a clean end takes (up to 4 s), far below OUTAGE_S
GOOD_STEPS = 3


@final
@dataclass
class Outcome:
    """What one rank saw."""

    kind: str  # of the error, "" for none
    text: str
    seconds: float
    fired: int  # how often the planted fault did


@final
class Deaf:
    """A group whose second receive of all fails, with the first one under way."""

    def __init__(self, group: Any, fail: Callable[..., NoReturn]) -> None:
        self._group, self._fail, self._calls = group, fail, 0

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        self._calls += 1
        if self._calls == 2:
            self._fail()
        work: Work = self._group.recv(tensors, rank, tag)
        return work

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        work: Work = self._group.send(tensors, rank, tag)
        return work


def plant(state: kimad.State, stage: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Make a stage of the worker fail on this rank; the list grows when it does."""
    fired: list[str] = []

    def fail(*args: object, **keywords: object) -> NoReturn:
        fired.append(stage)
        raise (RuntimeError if stage == "statistics" else ValueError)(f"planted in {stage}")

    loop = state.loop
    if stage == "receive":
        swap(loop._exchange, "_group", Deaf(loop._exchange._group, fail))  # `patch` would hold the group itself
        return fired
    place: Any = {
        "encode": loop.feedback,
        "squared_norm": loop.feedback,
        "statistics": loop._agreement,
        "sum": loop._agreement,
        "share": loop._agreement,
        "confirm": loop._agreement,
        "decide": loop._planner,
        "_hand_over": state,
        "_record": loop,
    }.get(stage)
    if stage.startswith("Batch."):
        patch.setattr(f"kimad.compressors.{stage}", fail)
    elif place is None:  # a function that the coder has imported
        patch.setattr(f"kimad.coder.{stage}", fail)
    else:
        patch.setattr(place, stage, fail)
    return fired


def planted(rank: int, stage: str, where: int, objective: str) -> Outcome:
    model = wrap(Zoo())
    objective_ = kimad.parse_objective(objective)
    config = kimad.Config(objective_, outage_timeout_s=OUTAGE_S, cold_start_bytes=20_000, refresh_steps=1)
    state = kimad.attach(model, config)
    train(model, rank, GOOD_STEPS)
    kind = text = ""
    with pytest.MonkeyPatch.context() as patch:
        assert len(state.records) == GOOD_STEPS  # the worker is idle: the fault meets no half-done step
        fired = plant(state, stage, patch) if rank == where else []
        began_s = time.monotonic()
        try:
            train(model, rank, 3)
        except kimad.KimadError as error:
            kind, text = type(error).__name__, str(error)
        seconds = time.monotonic() - began_s
    with pytest.raises(kimad.KimadError):  # and the model cannot be used by mistake afterwards
        train(model, rank, 1)
    state.close()
    return Outcome(kind, text, seconds, len(fired))


def check(outcomes: list[Outcome], stage: str, where: int) -> None:
    assert [o.fired > 0 for o in outcomes] == [rank == where for rank in range(len(outcomes))], "the fault never fired"
    for rank, outcome in enumerate(outcomes):
        assert f"rank {where} failed at step" in outcome.text, (rank, outcome)
        assert f"planted in {stage}" in outcome.text, (rank, outcome)
        assert outcome.seconds < SOON_S, (rank, outcome)
        assert (outcome.kind == "PeerError") == (rank != where), (rank, outcome)


TOPK, INT8, PROGRESS = "fixed:topk:0.05", "fixed:int8", "progress"
STAGES = [("encode", TOPK), ("Batch.encode", INT8), ("Batch.decode", TOPK), ("receive", INT8), ("read_flags", INT8),
          ("squared_norm", TOPK), ("statistics", PROGRESS), ("sum", PROGRESS), ("share", PROGRESS),
          ("confirm", PROGRESS), ("_record", TOPK), ("_hand_over", TOPK)]  # fmt: skip


@pytest.mark.parametrize(("stage", "objective"), STAGES)
def test_an_error_in_any_stage_ends_on_both_ranks(two_ranks: Ranks, stage: str, objective: str) -> None:
    check(two_ranks.run(planted, stage, 1, objective), stage, 1)


@pytest.mark.parametrize("stage", ["decide", "share", "encode"])
def test_an_error_on_rank_0_ends_on_both_ranks(two_ranks: Ranks, stage: str) -> None:
    check(two_ranks.run(planted, stage, 0, PROGRESS), stage, 0)


@pytest.mark.parametrize(("stage", "objective"), [("encode", TOPK), ("receive", INT8), ("statistics", PROGRESS)])
def test_an_error_ends_on_all_of_three_ranks(three_ranks: Ranks, stage: str, objective: str) -> None:
    check(three_ranks.run(planted, stage, 2, objective), stage, 2)


def hang(rank: int) -> Outcome:
    """Rank 1 computes for longer than the network may be silent, then goes on."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(kimad.Fixed("int8"), outage_timeout_s=1.0))
    train(model, rank, GOOD_STEPS)
    kind = text = ""
    began_s = time.monotonic()
    try:
        train(model, rank, 3, after=lambda step: time.sleep(4.0 if rank == 1 and step == 0 else 0.0))
    except kimad.KimadError as error:
        kind, text = type(error).__name__, str(error)
    state.close()
    return Outcome(kind, text, time.monotonic() - began_s, 1)


def test_a_peer_that_hangs_is_given_up_after_the_outage_timeout(two_ranks: Ranks) -> None:
    waiting, late = two_ranks.run(hang)
    assert waiting.kind == "ExchangeError"
    assert "rank 0 failed at step 4" in waiting.text
    assert "rank 1" in waiting.text
    assert "imed out" in waiting.text
    assert late.kind == "PeerError", late
    assert late.text == waiting.text, "the late rank learns what its peer gave up for"
    assert max(waiting.seconds, late.seconds) < SOON_S


CAUGHT = """
for i in range(3):
    step()
assert len(state.records) == 3  # the steps are wholly done
if rank == 1:
    {end}
try:
    for i in range(1000):
        step()
except kimad.KimadError as error:
    print("caught", error, file=sys.stderr)
    sys.exit(7)
"""


def test_a_killed_peer_is_an_error_on_the_others(tmp_path: Path) -> None:
    killed = CAUGHT.format(end="os.kill(os.getpid(), signal.SIGKILL)")
    first, dead, last = run_forked(tmp_path, killed, ranks=3)
    assert dead.code == -9
    for rank, ending in ((0, first), (2, last)):
        assert ending.code == 7, (rank, ending)
        assert "receiving from rank 1" in ending.stderr, (rank, ending)


def test_a_peer_that_raises_in_its_own_code_is_named_with_the_cause(tmp_path: Path) -> None:
    waiting, raised = run_forked(tmp_path, CAUGHT.format(end='raise KeyError("no such sample")'))
    assert raised.code == 1
    assert "KeyError: 'no such sample'" in raised.stderr
    assert waiting.code == 7, waiting
    assert "rank 1 failed" in waiting.stderr, waiting
    assert "KeyError: 'no such sample'" in waiting.stderr, waiting

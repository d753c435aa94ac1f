"""A network that is dead for a while: the step waits, nothing aborts, and the record says so."""

from __future__ import annotations

import time
from typing import Any, final

import pytest
from torch import Tensor

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, same_on_all_ranks, swap, train, wrap

pytestmark = pytest.mark.dist
DEAD_S = 2.5
STEPS, WHEN = 10, 6


@final
class Late:
    """Work that is done no sooner than the network is back."""

    def __init__(self, work: Any, until_s: float) -> None:
        self._work, self._until_s = work, until_s

    def wait(self) -> object:
        time.sleep(max(0.0, self._until_s - time.monotonic()))
        return self._work.wait()


@final
class Dead:
    """A group on a network that carries nothing from its first use on, for DEAD_S."""

    def __init__(self, group: Any) -> None:
        self._group, self._until_s = group, 0.0

    def _late(self, work: Any) -> Late:
        self._until_s = self._until_s or time.monotonic() + DEAD_S
        return Late(work, self._until_s)

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Any:
        return self._group.send(tensors, rank, tag)

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Late:
        return self._late(self._group.recv(tensors, rank, tag))

    def allreduce(self, tensors: list[Tensor]) -> Late:
        return self._late(self._group.allreduce(tensors))

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor]) -> Late:
        return self._late(self._group.allgather(outputs, inputs))

    def broadcast(self, tensors: list[Tensor]) -> Any:
        return self._group.broadcast(tensors)


def outages(rank: int, objective: str, place: str) -> list[float]:
    """Seconds of outage that the record of each step has; place: what the network dies in, or who comes late."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(kimad.parse_objective(objective), outage_timeout_s=20))
    loop = state.loop

    def before_next(step: int) -> None:
        assert len(state.records) == step + 1  # the step is wholly done
        if step + 1 == WHEN and place == "exchange":
            swap(loop._exchange, "_group", Dead(loop._exchange._group))
        elif step + 1 == WHEN and place == "agreement":
            swap(loop._agreement, "_open", Dead(loop._agreement._open))
        elif step + 1 == WHEN and place == "late rank" and rank == 1:
            time.sleep(DEAD_S)

    train(model, rank, STEPS, after=before_next)
    assert same_on_all_ranks(model)
    found = [record.link.outage_s for record in state.records]
    state.close()
    return found


@pytest.mark.parametrize("objective", ["fixed:topk:0.05", "fixed:float32", "progress"])
@pytest.mark.parametrize("place", ["exchange", "agreement"])
def test_an_outage_is_waited_through_and_recorded(two_ranks: Ranks, objective: str, place: str) -> None:
    for found in two_ranks.run(outages, objective, place):
        assert [seconds > 0 for seconds in found] == [step == WHEN for step in range(STEPS)]
        assert DEAD_S - 1 < found[WHEN] < DEAD_S + 2


def test_a_late_rank_is_no_outage(two_ranks: Ranks) -> None:
    for found in two_ranks.run(outages, "progress", "late rank"):
        assert found == [0.0] * STEPS

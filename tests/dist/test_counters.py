"""The records hold what TCP counted on the connections of Kimad's own group."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.record import LinkRecord
from tests.dist.ranks import Ranks
from tests.dist.training import swap

pytestmark = [pytest.mark.dist, pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is read on Linux")]
STEPS = 8


def links(rank: int, blind: bool) -> tuple[bool, list[LinkRecord]]:
    """Records of dense steps; blind: the system counts nothing."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(1024, 1024, bias=False))
    state = kimad.attach(model, kimad.Config(kimad.parse_objective("fixed:float32"), outage_timeout_s=20))
    if blind:
        swap(state.loop._counters, "_endpoints", {})
    for step in range(STEPS):
        model.zero_grad()
        model(torch.randn(4, 1024, generator=torch.Generator().manual_seed(10 * step + rank))).pow(2).mean().backward()
    found = [record.link for record in state.records]
    certain = state.loop._counters.certain
    state.close()
    return certain, found


def check(answers: list[tuple[bool, list[LinkRecord]]]) -> None:
    for certain, found in answers:
        assert certain, "the group's connections were told apart"
        assert len(found) == STEPS
        assert all(link.repeated_segments is not None for link in found)
        assert all(link.min_rtt_s is not None and 0 < link.min_rtt_s < 1 for link in found)
        assert all(link.delivery_bps is None for link in found), "inside a machine it would be that of copying"


def test_two_ranks_have_a_connection(two_ranks: Ranks) -> None:
    check(two_ranks.run(links, False))


def test_three_ranks_have_a_connection_to_each_peer(three_ranks: Ranks) -> None:
    check(three_ranks.run(links, False))


def test_without_counters_a_step_goes_on(two_ranks: Ranks) -> None:
    for _, found in two_ranks.run(links, True):
        assert len(found) == STEPS
        assert {(link.delivery_bps, link.min_rtt_s, link.repeated_segments) for link in found} == {(None, None, None)}

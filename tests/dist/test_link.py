"""Measuring one link, between real ranks: with a rate that is known, and with a peer that says nothing."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import astuple

import pytest
import torch.distributed as dist

from kimad.group import Group, make_group
from kimad.launch.link.measure import Found, Pair
from kimad.launch.link.program import measure
from kimad.launch.virtual import Clocks, VirtualGroup
from kimad.layout import Layer
from kimad.trace import parse_links
from tests.dist.ranks import Ranks

LAYERS = [Layer("link", (1,))]
LINKS = ["const:80/const:500", "const:20/const:500"]  # up/down of each rank


def own_group(timeout_s: float) -> Group:
    group, _ = make_group(dist.group.WORLD, LAYERS, timeout_s)  # type: ignore[arg-type]
    return group


def virtual_link(rank: int, start_s: float) -> Found:
    clocks = Clocks(parse_links(LINKS, 2), 1, rank, start_s)
    return Pair(VirtualGroup(own_group(20.0), clocks, [0, 1]), 1 - rank).measure(0.5)


def test_each_direction_has_its_rate_and_both_ends_know_it(two_ranks: Ranks) -> None:
    first, second = two_ranks.run(virtual_link, time.monotonic())
    assert astuple(first) == astuple(second)
    for up_bps, down_bps in ((first.up_bps, first.down_bps), (first.both_up_bps, first.both_down_bps)):
        assert up_bps == pytest.approx(80e6, rel=0.1)
        assert down_bps == pytest.approx(20e6, rel=0.1)
    assert 0 < first.round_trip_s < 1


def silent_peer(rank: int) -> tuple[object, str]:
    """Rank 1 goes away with its group open, rank 0 waits for a second."""
    group = own_group(1.0)
    if rank == 1:
        time.sleep(3)
        return None, ""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            measure(group, 0, 1, 0.1)
        except SystemExit as ended:
            return ended.code, said.getvalue()
    return None, said.getvalue()


def test_a_peer_that_says_nothing_is_given_up(two_ranks: Ranks) -> None:
    (code, said), _ = two_ranks.run(silent_peer)
    assert code == 1
    assert said.count("\n") == 1
    assert "rank 0 has lost rank 1, or nothing came from it in time: " in said

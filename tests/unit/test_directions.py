"""Rates of uplinks and downlinks from what arrived where in which time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.directions import direction_samples
from kimad.sim.arrivals import arrivals
from kimad.sim.links import Links
from kimad.trace import Const, HostLink

UP = [80.0, 80.0, 80.0, 8.0]


def measured(up: list[float], down: list[float], size: list[float]) -> tuple[list[float], list[float]]:
    """Mbit/s of what frames of so many bytes tell of links of these rates."""
    links = Links([HostLink(Const(u), Const(d)) for u, d in zip(up, down, strict=True)])
    seconds = arrivals(links, 0.0, 8 * np.array(size)) * ~np.eye(len(up), dtype=bool)
    found = direction_samples(1.0, np.column_stack([size, seconds]))
    ups, downs = ((1e-6 * samples.bps).tolist() for samples in found)
    return ups, downs


def test_a_slow_uplink_is_seen_and_no_downlink_taken_for_it() -> None:
    up, down = measured(UP, [80.0] * 4, [1e6] * 4)
    assert up == pytest.approx(UP)
    assert down[3] == pytest.approx(80.0)
    assert down[:3] == pytest.approx([2 / 3 * 80.0] * 3), "the two that are quick"


def test_the_same_where_it_sends_less() -> None:
    up, down = measured(UP, [80.0] * 4, [1e6, 1e6, 1e6, 1e5])
    assert up == pytest.approx(UP)
    assert min(down) > 50


def test_slow_in_both_directions_is_slow_for_all() -> None:
    """The others' frames have to pass its downlink, so their uplinks seem no faster."""
    up, down = measured(UP, UP, [1e6] * 4)
    assert up == pytest.approx([8.0] * 4)
    assert min(down) == pytest.approx(8.0)


@given(st.data(), st.integers(2, 6))
def test_no_link_is_taken_for_a_faster_one(data: st.DataObject, ranks: int) -> None:
    """Of up it is certain; down is shared evenly, and then it is as well."""
    rates = st.lists(st.floats(1.0, 100.0), min_size=ranks, max_size=ranks)
    sizes = st.lists(st.sampled_from([3e5, 1e6]), min_size=ranks, max_size=ranks)
    up, down, size = data.draw(rates), data.draw(rates), data.draw(sizes)
    found_up, found_down = measured(up, down, size)
    assert (np.array(found_up) <= np.array(up) * 1.001).all()
    assert (np.array(found_down) <= np.array(down) * 1.001).all()


def test_too_little_is_no_sample() -> None:
    peers = np.array([[100.0, 0.0, 0.5], [0.0, 1e-4, 0.0]])
    up, down = direction_samples(3.0, peers)
    assert up.bytes.tolist() == [0, 0]
    assert down.bytes.tolist() == [0, 0]
    assert np.isfinite(up.bps).all()
    assert np.isfinite(down.bps).all()

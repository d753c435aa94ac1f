"""Links carry their integral, no more and no less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.sim import SimulationError
from kimad.sim.links import Links
from kimad.trace import Const, HostLink, Sine, Walk, parse_link


def both(spec: str) -> HostLink:
    return HostLink(parse_link(spec), parse_link(spec))


def test_a_constant_link_takes_bits_over_rate() -> None:
    links = Links([both("const:80"), both("const:20")])
    last_s, down_s = links.finish(1.5, 40e6)
    assert last_s == pytest.approx(3.5)
    assert down_s == pytest.approx([2.0, 3.5])


def test_directions_are_apart() -> None:
    links = Links([HostLink(Const(80), Const(10)), HostLink(Const(40), Const(80))])
    last_s, down_s = links.finish(0.0, 40e6)
    assert last_s == pytest.approx(1.0)
    assert down_s == pytest.approx([4.0, 0.5])


def test_nothing_takes_no_time() -> None:
    last_s, down_s = Links([both("const:0")] * 2).finish(2.0, 0.0)
    assert (last_s, list(down_s)) == (2.0, [2.0, 2.0])


@given(
    st.sampled_from(
        ["const:50", "sine:30,330,30", "sine:0,100,7", "walk:30,330,40,5", "square:1,200,3", "outage:100,10,2"]
    ),
    st.lists(st.tuples(st.floats(0, 20), st.floats(1e3, 5e8)), min_size=1, max_size=12),
)
def test_what_is_carried_is_the_integral(spec: str, transfers: list[tuple[float, float]]) -> None:
    link, now_s = parse_link(spec), 0.0
    links = Links([HostLink(link, link)] * 3)
    for idle_s, bits in transfers:
        now_s += idle_s
        end_s, down_s = links.finish(now_s, bits)
        assert (down_s == end_s).all()
        assert link.mean_mbps(now_s, end_s) * 1e6 * (end_s - now_s) == pytest.approx(bits, rel=0.02, abs=2e5)
        now_s = end_s


def test_many_walks_are_each_their_own() -> None:
    walks = [Walk(30, 330, 60, seed) for seed in range(40)]
    together = Links([HostLink(walk, walk) for walk in walks])
    now_s = 0.0
    for bits in np.geomspace(1e5, 1e9, 12):
        last_s, down_s = together.finish(now_s, bits)
        alone = [Links([HostLink(walk, walk)]).finish(now_s, bits)[0] for walk in walks]
        assert down_s == pytest.approx(alone)
        assert last_s == down_s.max()
        now_s = last_s


def test_a_dead_link_is_an_error_that_names_it() -> None:
    with pytest.raises(SimulationError, match="const:0 does not carry"):
        Links([both("const:100"), both("const:0")]).finish(0.0, 8.0)


def test_an_outage_is_waited_through() -> None:
    last_s, _ = Links([both("outage:100,10,4")] * 2).finish(0.0, 900e6)
    link = parse_link("outage:100,10,4")
    assert link.mean_mbps(0, last_s) * last_s == pytest.approx(900, rel=1e-3)
    assert last_s > 10


def test_memory_does_not_grow_with_time() -> None:
    links = Links([HostLink(Sine(30, 330, 5), Const(100))])
    for second in range(0, 4000, 3):
        links.finish(float(second), 1e7)
    assert links._carried.shape[1] < 3000

"""Bandwidth traces: their means are their integrals, and a spec that makes no sense is one clear line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.errors import KimadError
from kimad.launch.schedule import FLOOR_BPS, Schedule, capacity_bits, finish_s
from kimad.trace import Link, LinkError, parse_link

SPECS = ["const:100", "const:0", "sine:30,330,30", "sine:0,50,6", "sine:10,10,1", "sine:1,1000,0.3"]
LINKS = [parse_link(spec) for spec in SPECS]


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize(("a_s", "b_s"), [(0.0, 1.0), (2.7, 3.1), (0.0, 30.0), (14.9, 15.1), (3.0, 100.0)])
def test_mean_is_the_integral(link: Link, a_s: float, b_s: float) -> None:
    middles_s = a_s + (b_s - a_s) * (np.arange(20_000) + 0.5) / 20_000
    assert link.mean_mbps(a_s, b_s) == pytest.approx(np.mean([link.mbps(t) for t in middles_s]), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("link", LINKS, ids=str)
@given(t_s=st.floats(0, 1e4))
def test_mean_over_nothing_is_the_rate(link: Link, t_s: float) -> None:
    assert link.mean_mbps(t_s, t_s) == pytest.approx(link.mbps(t_s), rel=1e-6, abs=1e-6)
    assert link.mean_mbps(t_s, t_s + 1e-9) == pytest.approx(link.mbps(t_s), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_spec_is_read_back(spec: str) -> None:
    assert str(parse_link(spec)) == spec
    assert parse_link(f" {spec} ") == parse_link(spec)


def test_sine_goes_from_low_to_high() -> None:
    link = parse_link("sine:30,330,30")
    assert link.mbps(0) == 30
    assert link.mbps(15) == pytest.approx(330)
    assert link.mbps(30) == pytest.approx(30)
    assert link.mean_mbps(0, 30) == pytest.approx(180)
    assert link.mean_mbps(0, 3000) == pytest.approx(180)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no known kind"),
        ("100", "no known kind"),
        ("wave:1,2", "allowed: const:MBPS, sine:LO,HI,PERIOD_S"),
        ("const", "0 fields"),
        ("const:", "0 fields"),
        ("const:1,2", "2 fields"),
        ("const:fast", "'fast', which is no number"),
        ("const:nan", "finite number of 0 or more"),
        ("const:inf", "finite number of 0 or more"),
        ("const:-1", "MBPS is -1"),
        ("sine:30,330", "allowed: sine:LO,HI,PERIOD_S"),
        ("sine:30,330,", "PERIOD_S is ''"),
        ("sine:30,330,0", "PERIOD_S is 0"),
        ("sine:30,330,-5", "PERIOD_S is -5"),
        ("sine:30,nan,5", "HI is nan"),
        ("sine:330,30,5", "HI is 30; it must be at least LO, 330"),
    ],
)
def test_bad_spec_is_one_clear_line(spec: str, said: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse_link(spec)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, KimadError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("link", LINKS, ids=str)
@given(start_s=st.floats(0, 100), bits=st.floats(8, 1e8))
def test_finish_is_when_the_bits_are_carried(link: Link, start_s: float, bits: float) -> None:
    end_s = finish_s(link, start_s, bits)
    assert end_s > start_s
    assert capacity_bits(link, start_s, end_s) == pytest.approx(bits, rel=0.02, abs=100)


def test_dead_link_still_has_a_rate() -> None:
    rates = Schedule(parse_link("const:0")).rates(0.0, 131_072)
    assert rates.now_bps == pytest.approx(FLOOR_BPS)


def test_what_was_sent_too_early_is_taken_back() -> None:
    schedule = Schedule(parse_link("const:100"))
    plain = schedule.rates(0.0, 131_072).now_bps
    assert plain == pytest.approx(100e6)
    schedule.spend(0.0, 2_500_000)  # 0.2 s of the link, at once
    assert schedule.rates(0.0, 131_072).now_bps < 0.5 * plain
    schedule.spend(0.3, 0)
    assert schedule.rates(0.3, 131_072).now_bps == pytest.approx(plain)


def test_next_quantum_takes_as_long_as_the_trace_needs() -> None:
    """Just before a trough, the rate must be the one that carries the quantum through it, not the current one."""
    link = parse_link("sine:0,50,60")
    schedule = Schedule(link)
    schedule.spend(59.0, 0)
    rates = schedule.rates(59.0, 131_072)
    waited_s = 131_072 * 8 / rates.now_bps
    assert math.isclose(link.mean_mbps(59.0, 59.0 + waited_s) * 1e6 * waited_s, 131_072 * 8, rel_tol=0.05)
    assert rates.after_bps >= rates.now_bps

"""Every link is its own integral: rates, means, many means at once, periods, and the spec that it prints."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimad.trace import LINK_FORMS, Link, LinkError, Steps, Walk, parse_link, walk_means
from kimad.trace.sample import sampled
from kimad.trace.walk import LENGTH_S, RELAXATION_S, STEP_S, walk_rates

SPECS = [
    "const:100",
    "const:0",
    "sine:30,330,30",
    "paper-sine:300,0.2,30",
    "square:10,90,4",
    "walk:30,330,20",
    "walk:0,50,40,7",
    "markov:100,0,5,2,1",
    "markov:80,5,0.5,20",
    "outage:100,10,1.5",
    "outage:100,10,10",
    "steps:10,1,0,2.5,400,0.25",
    "scale:0.5,sine:30,330,30",
    "scale:0,walk:30,330,20",
    "concat:3,const:10|2.5,sine:0,100,4|1,outage:5,0.4,0.1",
]
LINKS = [parse_link(spec) for spec in SPECS]


@pytest.mark.parametrize("spec", SPECS)
def test_spec_is_read_back(spec: str) -> None:
    assert str(parse_link(spec)) == spec
    assert parse_link(f" {spec}\n") == parse_link(spec)
    assert hash(parse_link(spec)) == hash(parse_link(spec))


@given(low=st.floats(0, 1e6), swing=st.floats(0, 1e6), period_s=st.floats(1e-5, 1e8))
def test_any_number_survives_the_spec(low: float, swing: float, period_s: float) -> None:
    for link in (f"sine:{low!r},{low + swing!r},{period_s!r}", f"steps:{low!r},{period_s!r}"):
        assert parse_link(str(parse_link(link))) == parse_link(link)


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize(("a_s", "b_s"), [(0.0, 1.0), (2.7, 3.1), (0.0, 30.0), (14.9, 15.1), (3.0, 100.0)])
def test_mean_is_the_integral(link: Link, a_s: float, b_s: float) -> None:
    middles_s = a_s + (b_s - a_s) * (np.arange(20_000) + 0.5) / 20_000
    expected = float(np.mean([link.mbps(t) for t in middles_s]))
    assert link.mean_mbps(a_s, b_s) == pytest.approx(expected, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize("link", LINKS, ids=str)
@given(t_s=st.floats(0, 1e4))
def test_mean_over_nothing_is_the_rate(link: Link, t_s: float) -> None:
    assert link.mean_mbps(t_s, t_s) == pytest.approx(link.mbps(t_s), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("link", LINKS, ids=str)
@given(start_s=st.floats(0, 5000), step_s=st.floats(0.01, 50))
@settings(max_examples=20)
def test_many_means_are_the_same_means(link: Link, start_s: float, step_s: float) -> None:
    many = link.means(start_s, step_s, 30)
    single = [link.mean_mbps(start_s + i * step_s, start_s + (i + 1) * step_s) for i in range(30)]
    np.testing.assert_allclose(many, single, rtol=1e-6, atol=1e-5)
    assert (many >= 0).all()
    assert many.mean() == pytest.approx(link.mean_mbps(start_s, start_s + 30 * step_s), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("periods", [2, 7, 100])
def test_mean_over_periods_is_the_mean_over_one(link: Link, periods: int) -> None:
    period_s = link.period_s or 10.0
    one = link.mean_mbps(0.0, period_s)
    assert link.mean_mbps(0.0, periods * period_s) == pytest.approx(one, rel=1e-9, abs=1e-12)
    shifted = link.mean_mbps(0.3 * period_s, (periods + 0.3) * period_s)
    assert shifted == pytest.approx(one, rel=1e-9, abs=1e-9)
    assert link.means(0.0, period_s, periods) == pytest.approx(np.full(periods, one), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_rate_hardly_changes_within_the_resolution(link: Link) -> None:
    step_s = link.resolution_s
    if math.isinf(step_s):
        assert link.period_s is None
        return
    assert link.period_s is not None
    times_s = np.linspace(0, min(link.period_s, 100.0), 300)
    rates = [link.mbps(float(t)) for t in times_s]
    changes = [abs(link.mbps(float(t) + 0.01 * step_s) - rate) for t, rate in zip(times_s, rates, strict=True)]
    assert float(np.median(changes)) <= 0.02 * max(*rates, 1.0)


def test_outage_is_exactly_zero_in_every_cell() -> None:
    cells = parse_link("outage:97.3,10,2").means(0.0, 0.1, 100_000).reshape(-1, 100)
    assert (cells[:, 80:99] == 0).all()
    assert cells[:, :79] == pytest.approx(97.3)


def test_paper_sine_is_the_papers() -> None:
    link = parse_link("paper-sine:300,0.2,30")
    for t_s in (0.0, 1.0, 7.5, 100.0):
        assert link.mbps(t_s) == pytest.approx(300 * math.sin(0.2 * t_s) ** 2 + 30)
    assert link.period_s == pytest.approx(math.pi / 0.2)


def test_square_and_outage_switch_by_the_clock() -> None:
    square = parse_link("square:10,90,4")
    assert [square.mbps(t) for t in (0, 1.9, 2, 3.9, 4)] == [10, 10, 90, 90, 10]
    outage = parse_link("outage:100,10,1")
    assert [outage.mbps(t) for t in (0, 8.9, 9, 9.9, 10)] == [100, 100, 0, 0, 100]


def test_markov_has_the_means_that_were_asked_for() -> None:
    steps = sampled(parse_link("markov:100,0,0.4,0.1,3"))
    durations_s = steps.durations_s
    assert steps.rates_mbps[0] == 100
    assert durations_s[steps.rates_mbps == 100].mean() == pytest.approx(0.4, rel=0.1)
    assert durations_s[steps.rates_mbps == 0].mean() == pytest.approx(0.1, rel=0.1)


def test_walk_has_its_spread_and_its_relaxation() -> None:
    walks = np.array([walk_rates(0, 1e6, 20, seed) for seed in range(200)]) - 5e5
    assert walks.shape == (200, round(LENGTH_S / STEP_S))
    assert walks.std() == pytest.approx(20, rel=0.03)
    assert walks[:, 0].std() == pytest.approx(20, rel=0.15)
    lag = round(RELAXATION_S / STEP_S)
    assert np.mean(walks[:, lag:] * walks[:, :-lag]) / 400 == pytest.approx(math.exp(-1), abs=0.05)
    assert walk_rates(30, 330, 500, 0).min() == 30
    assert walk_rates(30, 330, 500, 0).max() == 330


def test_walk_follows_its_recurrence() -> None:
    rho = math.exp(-STEP_S / RELAXATION_S)
    normal = np.random.default_rng(11).standard_normal(round(LENGTH_S / STEP_S))
    state = [normal[0]]
    for z in normal[1:]:
        state.append(rho * state[-1] + math.sqrt(1 - rho * rho) * z)
    np.testing.assert_allclose(walk_rates(0, 1000, 30, 11), 500 + 30 * np.array(state), rtol=1e-12)


def test_many_walks_are_the_single_ones() -> None:
    rows = walk_means(30, 330, 20, range(5), 3.0, 0.7, 400)
    for seed in range(5):
        assert (rows[seed] == Walk(30, 330, 20, seed).means(3.0, 0.7, 400)).all()
    assert len({row.tobytes() for row in rows}) == 5
    assert walk_means(30, 330, 20, [], 0.0, 1.0, 4).shape == (0, 4)


def test_ten_thousand_walks_do_not_take_minutes() -> None:
    start_s = time.process_time()
    walk_means(30, 330, 20, range(1000), 0.0, 0.5, 2400)
    assert time.process_time() - start_s < 6  # a tenth of a minute for a tenth of them


def test_steps_are_joined_and_cut_exactly() -> None:
    link = parse_link("steps:10,1,0,2,30,1")
    assert sampled(link, 6.5) == Steps.lasting([1, 2, 1, 1, 1.5], [10, 0, 30, 10, 0])
    assert sampled(parse_link("concat:1,const:5|2,scale:2,const:5"), 4) == Steps.lasting([1, 2, 1], [5, 10, 5])
    assert sampled(link, 0.25) == Steps.lasting([0.25], [10])


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("step_s", [None, 0.3, 7.0])
def test_sampling_keeps_the_bytes(link: Link, step_s: float | None) -> None:
    steps = sampled(link, 25.0, step_s)
    assert steps.end_s == pytest.approx(25.0)
    assert steps.mean_mbps(0.0, 25.0) == pytest.approx(link.mean_mbps(0.0, 25.0), rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("walk:30,330", "2 fields; allowed: walk:LO,HI,SIGMA[,SEED]"),
        ("walk:30,330,20,1,2", "5 fields"),
        ("walk:30,330,-1", "SIGMA is -1"),
        ("walk:30,330,20,x", "SEED is 'x'"),
        ("walk:30,330,20,-1", "SEED is '-1'"),
        ("walk:30,330,20,1.5", "SEED is '1.5'"),
        ("walk:30,330,20,9999999999999999999", "SEED is 1e+19"),
        ("markov:1,0,0,1", "MEAN_ON_S is 0"),
        ("markov:1,0,1,1e9", "MEAN_OFF_S is 1e+09"),
        ("square:5,1,1", "HI is 1; it must be at least LO, 5"),
        ("outage:5,10,11", "FOR_S is 11; it must be a number of seconds from 0 to EVERY_S, 10"),
        ("outage:5,10,-1", "FOR_S is -1"),
        ("outage:5,10,nan", "FOR_S is nan"),
        ("paper-sine:1,0,1", "THETA is 0"),
        ("paper-sine:-1,1,1", "ETA is -1"),
        ("paper-sine:1e9,1,1e9", "SUM is 2e+09"),
        ("const:1e10", "at most 1e+09 Mbit/s"),
        ("const:1e999", "MBPS is inf"),
        ("const:1_000", "'1_000', which is no number"),
        ("const:٣", "which is no number"),
        ("sine:1,2,1e-300", "PERIOD_S is 1e-300"),
        ("steps:1", "each rate needs its seconds"),
        ("steps:", "each rate needs its seconds"),
        ("steps:1,0", "each step must last"),
        ("steps:1,-1", "each step must last"),
        ("steps:-1,1", "each rate must be"),
        ("steps:nan,1", "each rate must be"),
        ("steps:1,nan", "each step must last"),
        ("scale:2", "has no comma; allowed: scale:FACTOR,LINK"),
        ("scale:-1,const:1", "FACTOR is -1"),
        ("scale:1,", "no known kind"),
        ("scale:1," * 30 + "const:1", "too many scales"),
        ("scale:1," * 15 + "const:1", "more than 8 scales"),
        ("concat:1,const:1|", "has no comma"),
        ("concat:0,const:1", "SECONDS is 0"),
        ("concat:1,concat:1,const:1", "cannot stand in a concat"),
        ("no/such/file.txt", "no such file exists"),
        ("const:" + "1" * 500, "which is no number"),
        ("x" * 2_000_000, "has 2000000 characters"),
    ],
    ids=lambda text: text[:40],
)
def test_bad_spec_is_one_clear_line(spec: str, said: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse_link(spec)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 900


def test_forms_name_every_kind() -> None:
    for kind in ("const", "sine", "paper-sine", "square", "walk", "markov", "outage", "steps", "scale", "concat"):
        assert f"{kind}:" in LINK_FORMS
    assert "FILE" in LINK_FORMS

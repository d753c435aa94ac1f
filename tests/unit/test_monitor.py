"""Transfers to link samples: unions of busy intervals, and waiting that is not the wire's."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad import monitor
from kimad.forecast import make_estimator
from kimad.monitor import LONG_S, MIN_LONG_BYTES, MIN_SAMPLE_BYTES, LinkSample, LinkSamples, Transfer, busy_s, totals

MB = 1_000_000


Pairs = Sequence[tuple[float, float]]


def link_samples(time_s: float, received: Pairs, collective: Pairs) -> list[LinkSample | None]:
    return monitor.link_samples(time_s, table(received), table(collective)).each()


def table(pairs: Pairs) -> NDArray[np.float64]:
    return np.array(pairs, np.float64).reshape(len(pairs), 2)


def bps(samples: list[LinkSample | None]) -> list[float]:
    assert None not in samples
    return [s.bps for s in samples if s is not None]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], 0.0),
        ([(1.0, 3.0)], 2.0),
        ([(5.0, 5.0)], 0.0),
        ([(0.0, 1.0), (1.0, 2.0)], 2.0),
        ([(0.0, 2.0), (1.0, 3.0)], 3.0),
        ([(0.0, 10.0), (2.0, 3.0), (9.0, 11.0)], 11.0),
        ([(4.0, 5.0), (0.0, 1.0), (2.0, 3.0)], 3.0),
        ([(-2.0, -1.0), (-1.5, 0.0)], 2.0),
    ],
)
def test_union_of_intervals(intervals: list[tuple[float, float]], expected: float) -> None:
    assert busy_s(intervals) == expected
    random.Random(0).shuffle(intervals)
    assert busy_s(iter(intervals)) == expected


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)))
def test_union_counts_every_second_once(intervals: list[list[int]]) -> None:
    covered = {second for start, end in intervals for second in range(start, end)}
    assert busy_s((start, end) for start, end in intervals) == len(covered)


def test_totals_keep_kinds_apart() -> None:
    transfers = [
        Transfer(10, 0.0, 1.0),
        Transfer(20, 0.5, 2.0),
        Transfer(100, 2.0, 5.0, collective=True),
        Transfer(5, 8.0, 9.0),
    ]
    assert totals(transfers, collective=False) == (35, 3.0)
    assert totals(transfers, collective=True) == (100, 3.0)
    assert totals([], collective=True) == (0, 0)


def test_every_rank_has_its_own_link() -> None:
    samples = link_samples(7.0, [(MB, 1.0), (MB, 2.0), (3 * MB, 1.0)], [(0, 0.0)] * 3)
    assert bps(samples) == [8e6, 4e6, 24e6]
    assert samples[2] == LinkSample(7.0, 24e6, 3 * MB, 1.0)


def test_the_shortest_duration_of_a_collective_is_the_wires() -> None:
    assert bps(link_samples(0.0, [(0, 0.0)] * 3, [(MB, 4.0), (MB, 1.0), (MB, 9.0)])) == [8e6] * 3


@pytest.mark.parametrize("sleeper", [0, 1, 2])
def test_a_rank_that_sleeps_does_not_change_the_estimate(sleeper: int) -> None:
    """It comes late: the others wait inside the collective for it, and it does not wait at all."""
    awake = [(MB, 0.5)] * 3
    held_up = [(MB, 0.5 if rank == sleeper else 30.5) for rank in range(3)]
    own = [(MB, 1.0), (2 * MB, 1.0), (MB, 3.0)]
    assert link_samples(1.0, own, held_up) == link_samples(1.0, own, awake)


def test_frames_and_collectives_add_up() -> None:
    assert bps(link_samples(0.0, [(MB, 1.0), (MB, 2.0)], [(3 * MB, 1.0), (3 * MB, 5.0)])) == [16e6, 32e6 / 3]


def test_too_few_bytes_say_nothing() -> None:
    few, short_s = MIN_SAMPLE_BYTES - 1, 2.0**-6
    assert link_samples(0.0, [(few, short_s), (few + 1, short_s)], [(0, 0.0)] * 2) == [
        None,
        LinkSample(0.0, 8.0 * MIN_SAMPLE_BYTES / short_s, MIN_SAMPLE_BYTES, short_s),
    ]
    assert link_samples(0.0, [(0, 0.0)], [(0, 0.0)]) == [None]
    assert link_samples(0.0, [(MB, 0.0)], [(0, 0.0)]) == [None]  # no time, no rate
    assert link_samples(0.0, [], []) == []


def test_few_bytes_that_took_long_measure_a_slow_link() -> None:
    few = 4000
    assert few < MIN_SAMPLE_BYTES
    assert bps(link_samples(0.0, [(few, 0.032)], [(0, 0.0)])) == [1e6]
    assert link_samples(0.0, [(MIN_LONG_BYTES - 1, 1.0)], [(0, 0.0)]) == [None]  # an outage's trickle, or a stall
    assert link_samples(0.0, [(few, LONG_S / 2)], [(0, 0.0)]) == [None]


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("kind", ["received", "collective"])
def test_totals_that_cannot_be_true_are_no_sample_and_are_counted(wrong: float, column: int, kind: str) -> None:
    """Those of the other rank still count."""
    received, collective = table([(MB, 1.0), (MB, 1.0)]), table([(MB, 1.0), (MB, 2.0)])
    (received if kind == "received" else collective)[0, column] = wrong
    found = monitor.link_samples(1.0, received, collective)
    assert found.each()[0] is None
    shortest_s = 2.0 if (kind, column) == ("collective", 1) else 1.0
    assert found.each()[1] == LinkSample(1.0, 16e6 / (1 + shortest_s), 2 * MB, 1 + shortest_s)
    links = make_estimator("switching", 0.5, 0.25, links=2)
    links.update(found)
    assert links.ignored == 1
    assert np.isnan(links.forecast(1.0).mean_bps).tolist() == [True, False]


@pytest.mark.parametrize("totals", [(MB, 0.0), (1e30, 1.0), (MB, 1e30)])
def test_totals_of_no_time_or_beyond_all_measure_are_counted(totals: tuple[float, float]) -> None:
    links = make_estimator("switching", 0.5, 0.25)
    links.update(monitor.link_samples(1.0, table([totals]), table([(0, 0.0)])))
    assert links.ignored == 1
    assert links.forecast(1.0).slowest() is None


def test_nothing_received_is_nothing_to_count() -> None:
    links = make_estimator("switching", 0.5, 0.25)
    links.update(monitor.link_samples(1.0, table([(0, 0.0)]), table([(0, 0.0)])))
    assert links.ignored == 0


def test_ranks_must_match() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        link_samples(0.0, [(MB, 1.0)] * 2, [(0, 0.0)])


def test_single_samples_and_many_are_the_same() -> None:
    samples = [LinkSample(3.0, 8e6, MB, 1.0), None, LinkSample(3.0, 4e6, 2 * MB, 4.0)]
    assert LinkSamples.of(samples).each() == samples
    assert LinkSamples.of([None]).each() == [None]

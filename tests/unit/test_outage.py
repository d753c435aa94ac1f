"""Outages are told from late ranks, slow links, and steps that send more."""

from __future__ import annotations

import numpy as np
import pytest

from kimad.outage import FEWEST, LEAST_S, STEPS, Outages

MB = 1_000_000


def seconds(outages: Outages, *wire_s: float, sent: float = MB, agreement_s: float = 0.002) -> float:
    return outages.seconds(np.array(wire_s), sent, agreement_s)


def used_to(usual_s: float, steps: int = STEPS) -> Outages:
    outages = Outages()
    assert [seconds(outages, usual_s, usual_s) for _ in range(steps)] == [0.0] * steps
    return outages


def test_a_step_that_takes_far_longer_on_all_ranks_is_an_outage() -> None:
    outages = used_to(0.1)
    assert seconds(outages, 5.1, 5.3) == pytest.approx(5.0)
    assert seconds(outages, 0.1, 0.1) == 0


def test_a_late_rank_is_none() -> None:
    assert seconds(used_to(0.1), 5.1, 0.1) == 0


def test_a_slow_link_is_none() -> None:
    outages = used_to(2.0)
    assert seconds(outages, 20.0, 20.0) == 0
    assert seconds(outages, 42.0, 42.0) == pytest.approx(40.0)


def test_short_gaps_are_none() -> None:
    assert seconds(used_to(0.001), LEAST_S * 0.99, 2.0) == 0


def test_more_bytes_may_take_longer() -> None:
    assert seconds(used_to(0.1), 4.0, 4.0, sent=40 * MB) == 0
    assert seconds(used_to(0.1), 4.0, 4.0, sent=MB) == pytest.approx(3.9)


def test_it_may_come_while_ranks_agree() -> None:
    outages = used_to(0.1)
    assert seconds(outages, 0.1, 0.1, agreement_s=3.002) == pytest.approx(3.0)
    assert seconds(outages, 3.1, 3.1, agreement_s=3.002) == pytest.approx(6.0)


def test_at_first_nothing_is_usual() -> None:
    outages = used_to(0.1, FEWEST - 1)
    assert seconds(outages, 9.0, 9.0) == 0
    assert seconds(outages, 9.1, 9.1) == pytest.approx(9.0)


def test_steps_that_send_nothing_are_usual_too() -> None:
    outages = Outages()
    for _ in range(STEPS):
        assert seconds(outages, 0.0, 0.0, sent=0) == 0
    assert seconds(outages, 2.0, 2.0) == 2.0

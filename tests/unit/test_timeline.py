"""The formula of the predicted step against a simulation that goes bucket by bucket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.timeline import ENCODE_SHARE, finish_s

Step = list[tuple[int, int, int]]  # of each bucket: ready, link, coding


def simulated(step: Step) -> float:
    """A processor that codes before it computes on, then two queues in bucket order: the encoder, and the link."""
    computed = now = encoder_free = link_free = 0.0
    for ready, link, coding in step:
        now += ready - computed  # backward goes on until the bucket is ready
        computed = ready
        encoder_free = max(encoder_free, now) + ENCODE_SHARE * coding
        link_free = max(link_free, encoder_free) + link + (1 - ENCODE_SHARE) * coding
        now += coding  # backward stands still
    return link_free


small = st.integers(0, 6)
steps = st.lists(st.tuples(small, small, small), min_size=1, max_size=7).map(
    lambda step: [(sum(gap for gap, _, _ in step[: i + 1]), link, coding) for i, (_, link, coding) in enumerate(step)]
)


@given(steps)
def test_agrees_with_a_simulation(step: Step) -> None:
    ready, link, coding = (np.array(column, float) for column in zip(*step, strict=True))
    assert finish_s(ready, link[None], coding[None]).tolist() == pytest.approx([simulated(step)])


def test_several_plans_at_once() -> None:
    rng = np.random.default_rng(1)
    ready = np.cumsum(rng.uniform(0, 1, 5))
    link, coding = rng.uniform(0, 1, (9, 5)), rng.uniform(0, 1, (9, 5))
    each = [float(finish_s(ready, link[i : i + 1], coding[i : i + 1])[0]) for i in range(9)]
    assert finish_s(ready, link, coding).tolist() == each


def test_communication_hides_behind_backward_but_for_the_last_bucket() -> None:
    ready = np.array([1.0, 2.0, 3.0])
    assert finish_s(ready, np.full((1, 3), 0.5), np.zeros((1, 3))).tolist() == [3.5]
    assert finish_s(ready, np.full((1, 3), 2.0), np.zeros((1, 3))).tolist() == [7.0]


def test_coding_never_hides() -> None:
    ready = np.array([1.0, 2.0, 3.0])
    assert finish_s(ready, np.zeros((1, 3)), np.array([[0.25, 0.25, 0.25]])).tolist() == [3.75]

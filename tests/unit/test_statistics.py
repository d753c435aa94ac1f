"""What ranks tell each other after a step survives the message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.monitor import Transfer
from kimad.statistics import OPERATORS, Everyone, Statistics, StepLog

NAMES = ["conv.weight", "conv.bias", "fc.weight"]


def step_log() -> StepLog:
    log = StepLog(start_s=100.0, nonfinite=True, unused={"fc.weight"}, ready_s=[0.25, 0.5], end_s=102.0)
    log.transfers += [Transfer(5000, 100.0, 101.0), Transfer(7000, 100.5, 101.5)]
    log.transfers.append(Transfer(900, 101.0, 101.25, collective=True))
    log.encode_s, log.wire_s, log.decode_s = 0.125, 0.75, 0.0625
    log.encoded("topk", 0.01, 0.02)
    log.encoded("topk", 0.01, 0.03)
    log.decoded("drop", 0.5)
    return log


def test_a_log_is_summed_up() -> None:
    found = Statistics.of(step_log(), NAMES, residual_square=42.0)
    assert (found.nonfinite, found.residual_square, found.step_s) == (True, 42.0, 2.0)
    assert found.received == (12000, 1.5)
    assert found.collective == (900, 0.25)
    assert found.unused.tolist() == [False, False, True]
    assert dict(zip(OPERATORS, found.expected_s, strict=True))["topk"] == pytest.approx(0.02)
    assert dict(zip(OPERATORS, found.measured_s, strict=True)) == pytest.approx(
        dict.fromkeys(OPERATORS, 0.0) | {"topk": 0.05, "drop": 0.5}
    )


def assert_same(mine: Statistics, everyone: Everyone, rank: int) -> None:
    assert everyone.void >= mine.nonfinite
    assert everyone.received[rank].tolist() == list(mine.received)
    assert everyone.collective[rank].tolist() == list(mine.collective)
    for name in ("ready_s", "expected_s", "measured_s", "unused"):
        ours, theirs = getattr(mine, name), getattr(everyone, name)[rank]
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name


@given(
    st.booleans(), st.lists(st.floats(0, 1e6), max_size=5), st.lists(st.booleans(), max_size=9),
    st.tuples(st.integers(0, 2**50), st.floats(0, 1e6)), st.floats(0, 1e30),
)  # fmt: skip
def test_there_and_back(
    nonfinite: bool, ready_s: list[float], unused: list[bool], received: tuple[int, float], number: float
) -> None:
    mine = Statistics(
        nonfinite, number, received, (7, 0.5), np.array(ready_s), number / 2, number / 3, number / 4, 1.5,
        np.linspace(0, 1, len(OPERATORS)), np.linspace(2, 3, len(OPERATORS)), np.array(unused, bool),
    )  # fmt: skip
    message = mine.pack()
    assert message.dtype == np.float64
    assert len(message) == Statistics.numbers(len(ready_s), len(unused))
    assert_same(mine, Everyone(message[None], len(ready_s), len(unused)), 0)


def test_a_step_log_there_and_back() -> None:
    mine = Statistics.of(step_log(), NAMES, 1.0)
    other = Statistics.of(StepLog(0.0, ready_s=[1.0, 2.0]), NAMES, 2.0)
    both = Everyone.of([other, mine])
    assert_same(mine, both, 1)
    assert_same(other, both, 0)
    assert both.void
    assert not Everyone.of([other]).void


@pytest.mark.parametrize(("buckets", "layers"), [(2, 4), (2, 2), (1, 3), (3, 3)])
def test_a_message_of_another_model_is_refused(buckets: int, layers: int) -> None:
    message = Statistics.of(step_log(), NAMES, 1.0).pack()
    with pytest.raises(ValueError, match="numbers a rank"):
        Everyone(message[None], buckets, layers)

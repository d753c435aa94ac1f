"""What ranks tell each other after a step survives the message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad.monitor import Transfer
from kimad.statistics import OPERATORS, Statistics, StepLog

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


def assert_same(a: Statistics, b: Statistics) -> None:
    for name in Statistics.__dataclass_fields__:
        ours, theirs = getattr(a, name), getattr(b, name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype, name
            assert np.array_equal(ours, theirs), name
        else:
            assert ours == theirs, name
            assert type(ours) is type(theirs), name


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
    assert_same(mine, Statistics.unpack(message, len(ready_s), len(unused)))


def test_a_step_log_there_and_back() -> None:
    mine = Statistics.of(step_log(), NAMES, 1.0)
    assert_same(mine, Statistics.unpack(mine.pack(), 2, 3))


@pytest.mark.parametrize(("buckets", "layers"), [(2, 4), (2, 2), (1, 3), (3, 3)])
def test_a_message_of_another_model_is_refused(buckets: int, layers: int) -> None:
    message = Statistics.of(step_log(), NAMES, 1.0).pack()
    with pytest.raises(ValueError, match="layers need another size"):
        Statistics.unpack(message, buckets, layers)

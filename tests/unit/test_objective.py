"""Each objective picks its point of a frontier that is written down here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kimad import ConfigError, ErrorBound, Fixed, Objective, Off, Overlap, Progress, StepTime
from kimad.objective import Points

# from cheap to dear, but for the last one, which is worse than the one before in everything
FRONTIER = Points(
    step_s=np.array([1.0, 1.0, 1.2, 2.0, 5.0, 6.0]),
    cost_s=np.array([0.1, 0.5, 1.0, 2.0, 5.0, 6.0]),
    error=np.array([0.99, 0.7, 0.3, 0.1, 0.0, 0.05]),
    compute_s=1.0,
)


@pytest.mark.parametrize(
    ("objective", "index"),
    [
        (StepTime(0.5), 0),  # none is that fast: the fastest
        (StepTime(1.0), 1),
        (StepTime(1.19), 1),
        (StepTime(2.0), 3),
        (StepTime(100), 4),
        (Overlap(), 1),
        (Overlap(0.2), 2),
        (Overlap(4), 4),
        (ErrorBound(0.5), 2),
        (ErrorBound(0.1), 3),
        (ErrorBound(0.06), 4),
        (ErrorBound(0.995), 0),
        (Progress(), 2),  # sqrt(phi)/t: .1, .548, .697, .474, .2
        (Progress(10), 4),
        (Progress(0.01), 1),
    ],
    ids=str,
)
def test_pick(objective: Objective, index: int) -> None:
    assert objective.pick(FRONTIER) == index


def test_error_bound_that_nothing_meets_takes_the_smallest_error() -> None:
    points = Points(np.ones(3), np.array([1.0, 2, 3]), np.array([0.9, 0.4, 0.5]), 1.0)
    assert ErrorBound(0.1).pick(points) == 1


def test_progress_is_cosine_per_second() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = Points(rng.uniform(0.1, 9, 40), rng.uniform(0, 9, 40), rng.uniform(0, 1, 40), 0.1)
        assert Progress().pick(points) == np.argmax(np.sqrt(1 - points.error) / points.step_s)


def test_progress_stands_points_at_the_edge() -> None:
    """Nothing sent, a step of no time, an error a little above 1: no NaN, no warning."""
    points = Points(np.array([0.0, 1.0, 1.0]), np.zeros(3), np.array([1.0, 1.0 + 1e-12, 0.5]), 0.0)
    assert Progress().pick(points) == 0
    assert Progress().pick(Points(np.ones(3), np.zeros(3), points.error, 0.0)) == 2


def test_time_to_be_used_up() -> None:
    assert StepTime(2.0).target_s(1.0) == 2.0
    assert Overlap(0.25).target_s(2.0) == 2.5
    assert [o.target_s(1.0) for o in (Progress(), ErrorBound(0.1), Off(), Fixed("int8"))] == [None] * 4


def test_who_adapts() -> None:
    assert all(o.adaptive for o in (Progress(), StepTime(1), Overlap(), ErrorBound(0.1)))
    assert not any(o.adaptive for o in (Off(), Fixed("float32")))


MAKERS: list[Callable[..., Objective]] = [StepTime, Overlap, ErrorBound, Progress, lambda v: Fixed("topk", v, "log4")]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), -1, "1", None, True, [1], 10**400], ids=lambda v: str(v)[:12]
)
def test_numbers_are_checked(make: Callable[..., Objective], value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [StepTime, ErrorBound, Progress, lambda v: Fixed("topk", v, "log4")])
def test_zero_is_refused(make: Callable[..., Objective]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        make(0)


@pytest.mark.parametrize("value", [1, 1.5])
def test_an_error_bound_is_below_one(value: float) -> None:
    with pytest.raises(ConfigError, match="below 1"):
        ErrorBound(value)


@pytest.mark.parametrize(
    "arguments",
    [("zip",), ("",), (None,), ([],), ("topk", 0.1), ("topk", 0.1, "log5"), ("topk", 1.5, "log4"), ("topk", 0.1, None),
     ("int8", 1.0, "log4"), ("int8", 0.5)],
)  # fmt: skip
def test_a_fixed_option_must_exist(arguments: tuple[object, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Fixed(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)

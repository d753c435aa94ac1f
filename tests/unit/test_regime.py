"""Near ties do not take turns; what pays is changed to, at once where it pays a lot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from kimad.regime import Regime, far

# Bytes of a frontier: small plans, and large ones with steps twice as long.
BYTES = np.array([3e6, 4e6, 5e6, 30e6, 34e6])
STEP_S = np.array([0.6, 0.65, 0.7, 1.3, 1.35])
SMALL, LARGE = slice(0, 3), slice(3, 5)


def scores(small: float, large: float) -> NDArray[np.float64]:
    """Logarithms: best in the middle of the small ones, and at the larger of the large ones."""
    found: NDArray[np.float64] = np.log(np.array([0.99 * small, small, 0.98 * small, 0.99 * large, large]))
    return found


def regime(at: float) -> Regime:
    new = Regime()
    new.enter(at)
    return new


def test_there_is_none_before_the_first_plan() -> None:
    assert Regime().nearest(BYTES) is None
    assert Regime().stay(scores(1, 1), BYTES, STEP_S) is None


def test_the_nearest_is_nearest_by_factor() -> None:
    assert regime(4.1e6).nearest(BYTES) == 1
    assert regime(13e6).nearest(BYTES) == 3  # 2.3 times 13 MB; 5 MB is 2.6 times less
    assert regime(0.0).nearest(np.array([0.0, 1e6])) == 0


def test_within_a_regime_the_best_is_taken_at_once() -> None:
    assert regime(3e6).stay(scores(1, 0.5), BYTES, STEP_S) == 1
    assert regime(30e6).stay(scores(0.9999, 1), BYTES, STEP_S) == 4


def test_a_regime_that_no_plan_belongs_to_is_its_nearest_plan() -> None:
    assert regime(10e6).stay(scores(1, 1), BYTES, STEP_S) == 2


def test_what_is_better_by_a_lot_is_taken_at_once() -> None:
    assert regime(4e6).stay(scores(1, 1.5), BYTES, STEP_S) is None
    assert regime(34e6).stay(scores(1.5, 1), BYTES, STEP_S) is None


def test_what_is_better_by_a_little_is_taken_after_some_steps() -> None:
    """Regret grows by the gain less the margin, which only longer steps have."""
    for at, pair, margin in ((34e6, (1.02, 1.0), 0.0), (4e6, (1.0, 1.02), Regime.LONGER)):
        current, steps = regime(at), 1
        while current.stay(scores(*pair), BYTES, STEP_S) is not None:
            steps += 1
        assert steps == math.ceil(Regime.LIMIT / (math.log(1.02) - margin))


def test_longer_steps_must_pay() -> None:
    current = regime(4e6)
    better = scores(1.0, math.exp(Regime.LONGER * 0.99))
    assert all(current.stay(better, BYTES, STEP_S) == 1 for _ in range(200))


def test_regret_is_forgotten_where_staying_pays() -> None:
    current = regime(4e6)
    for _ in range(200):
        assert current.stay(scores(1, 1.04), BYTES, STEP_S) == 1
        for _ in range(4):
            assert current.stay(scores(1, 0.9), BYTES, STEP_S) == 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_settles_in_the_smaller_of_equals(seed: int) -> None:
    """Scores that are equal but for 3 %: the best one takes turns in every second step, the regime does not."""
    random = np.random.default_rng(seed)
    current, at, turns, best = regime(34e6), 4, [], []
    for _ in range(400):
        now = scores(*np.exp(random.normal(0, 0.015, 2)))
        i = current.stay(now, BYTES, STEP_S)
        at = int(np.argmax(now)) if i is None else i
        current.enter(BYTES[at])
        turns.append(at >= LARGE.start)
        best.append(int(np.argmax(now)) >= LARGE.start)
    assert np.diff(best).sum() > 150
    assert np.diff(turns).sum() <= 20
    assert np.mean(turns) < 1 / 3


def test_far_is_another_regime() -> None:
    assert far(BYTES, 4e6).tolist() == [False, False, False, True, True]
    assert far(np.array([0.0, 1.0, 2.0]), 0.0).tolist() == [False, False, True]

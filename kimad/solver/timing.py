"""Choices by the step that they make, as `kimad.timeline` predicts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice, all_bucket_sums
from kimad.timeline import finish_s

Floats = NDArray[np.float64]


def ready_s(menu: Menu) -> Floats:
    """(B,) when each bucket is ready; none is before the ones in front of it."""
    if menu.ready_s is None:
        return np.zeros(len(menu.starts))
    return np.maximum.accumulate(menu.ready_s)


def steps_s(menu: Menu, choices: Sequence[Choice]) -> Floats:
    """(P,) predicted seconds of a step with each choice."""
    return finish_s(ready_s(menu), *all_bucket_sums(menu, choices))


def least_error(menu: Menu, choices: Sequence[Choice], step_s: float) -> int:
    """Number of the choice with the smallest error whose step takes at most `step_s`; the quickest if none does."""
    taken_s = steps_s(menu, choices)
    within = taken_s <= step_s
    if not within.any():
        return int(np.argmin(taken_s))
    return int(np.argmin(np.where(within, [choice.error for choice in choices], np.inf)))

"""A link: its rate as a function of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 8 * np.finfo(np.float64).eps  # relative; a difference of integrals below it is none


class Link(ABC):
    """A rate over time, in Mbit/s against seconds. Implementations are frozen and hold no state."""

    @abstractmethod
    def mbps(self, t_s: float) -> float:
        """Rate in Mbit/s at `t_s` seconds after the start."""

    @abstractmethod
    def mean_mbps(self, a_s: float, b_s: float) -> float:
        """Exact mean rate in Mbit/s over [a_s, b_s]; the rate itself where the interval is empty."""

    @abstractmethod
    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integral of the rate from 0 to each of `t_s`, in Mbit."""

    @property
    @abstractmethod
    def resolution_s(self) -> float:
        """Seconds within which the rate is constant or hardly changes; infinite where it never changes."""

    @property
    @abstractmethod
    def period_s(self) -> float | None:
        """Seconds after which the rate repeats; None where it never changes."""

    @abstractmethod
    def __str__(self) -> str:
        """The spec that `parse_link` reads."""

    def means(self, start_s: float, step_s: float, count: int) -> NDArray[np.float64]:
        """Mean Mbit/s of each of `count` successive cells of `step_s` seconds, the first of which begins at `start_s`.

        `(C((i + 1) step) - C(i step)) / step` with C the integral: cells add up to the integral over all of them.
        """
        if step_s <= 0 or count < 0:
            raise ValueError(
                f"means of {count} cells of {step_s:g} s; cells must be longer than 0 s, 0 of them or more"
            )
        period_s = self.period_s
        first_s = start_s % period_s if period_s else start_s  # a smaller integral has a smaller rounding error
        carried = self.carried_mbit(first_s + step_s * np.arange(count + 1, dtype=np.float64))
        difference = np.diff(carried)
        difference[difference <= _ROUNDING * np.abs(carried[1:])] = 0.0
        means: NDArray[np.float64] = difference / step_s
        return means

    def for_host(self, index: int) -> Link:
        """This link as host `index` has it: random ones without a seed take `index`, all others are the same."""
        return self


@final
@dataclass(frozen=True)
class HostLink:
    """The two directions of a host's link."""

    up: Link  # what the host sends
    down: Link  # what the host receives

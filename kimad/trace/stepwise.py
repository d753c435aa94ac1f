"""Links that are made of steps: everything but the steps and the spec follows from them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from kimad.trace.link import Link
from kimad.trace.steps import Steps


class StepLink(Link):
    """A link that its steps describe exactly."""

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """The same over one period."""

    def mbps(self, t_s: float) -> float:
        return self.steps.mbps(t_s)

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        return self.steps.mean_mbps(a_s, b_s)

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.steps.carried_mbit(t_s)

    @property
    def resolution_s(self) -> float:
        return self.steps.resolution_s

    @property
    def period_s(self) -> float | None:
        return self.steps.period_s

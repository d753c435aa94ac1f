"""What a forecast is, and what makes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected rate of the next transfers, in bit/s."""

    mean_bps: float
    low_bps: float  # what is planned on
    spread: float  # mean relative error of such forecasts so far
    age_s: float  # s since the newest sample
    high_bps: float  # what it may be at most

    def times(self, share: float) -> Forecast:
        """The same of a share of the link."""
        rates = (share * bps for bps in (self.mean_bps, self.low_bps, self.high_bps))
        mean_bps, low_bps, high_bps = rates
        return replace(self, mean_bps=mean_bps, low_bps=low_bps, high_bps=high_bps)


@final
@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N links. Where nothing is known, rates are NaN."""

    mean_bps: Floats  # (N,)
    low_bps: Floats  # (N,)
    spread: Floats  # (N,)
    age_s: Floats  # (N,)
    high_bps: Floats  # (N,)

    def slowest(self) -> Forecast | None:
        """That of the link with the smallest low rate, or None until every link has been measured."""
        if not len(self.low_bps) or np.isnan(self.low_bps).any():
            return None
        i = int(self.low_bps.argmin())
        columns = (self.mean_bps, self.low_bps, self.spread, self.age_s, self.high_bps)
        return Forecast(*(float(column[i]) for column in columns))


class Estimator(ABC):
    """Turns the samples of N links into forecasts, of each link by itself."""

    @abstractmethod
    def update(self, samples: LinkSamples) -> None:
        """Take in what a step told. Samples that cannot be true are ignored, and counted."""

    @abstractmethod
    def forecast(self, now_s: float) -> Forecasts:
        """The forecasts at an instant of the monotonic clock."""

    @property
    @abstractmethod
    def ignored(self) -> int:
        """How many samples were ignored."""


class Level(ABC):
    """The expected rate of the next transfer of N links: the middle of a forecast, without its doubts."""

    @abstractmethod
    def update(self, evidence: Evidence) -> None:
        """Take in one sample a link, where there is one."""

    @abstractmethod
    def log_bps(self) -> Floats:
        """(N,) ln of the expected bit/s. Of a link without a sample it means nothing, but is finite."""

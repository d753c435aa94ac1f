"""Forecasts of links' rates: a mean, and a low quantile whose coverage is kept while running.

samples -> evidence (checked, weighed) -> level (one class a file) -> doubt (how far below to plan)
"""

from __future__ import annotations

from collections.abc import Callable

from kimad.forecast.calibrated import Calibrated
from kimad.forecast.decayed import DecayedAverage
from kimad.forecast.harmonic import Harmonic
from kimad.forecast.holt import Holt
from kimad.forecast.interface import Estimator, Forecast, Forecasts, Level
from kimad.forecast.last import Last
from kimad.forecast.quantile import Quantile
from kimad.forecast.switching import Switching


def switching(links: int) -> Switching:
    """Switching between the newest sample, a trend, and an average."""
    return Switching((Last(links), Holt(links), Harmonic(links)), links)


ALL_LEVELS: dict[str, Callable[[int], Level]] = {
    "switching": switching,
    "last": Last,
    "decayed": DecayedAverage,
    "holt": Holt,
    "harmonic": Harmonic,
    "quantile": Quantile,
}


def make_estimator(name: str, half_life_s: float, low_quantile: float, links: int = 1) -> Estimator:
    """The estimator of a name of `ALL_LEVELS`."""
    return Calibrated(ALL_LEVELS[name](links), half_life_s, low_quantile, links)


__all__ = [
    "ALL_LEVELS",
    "Calibrated",
    "DecayedAverage",
    "Estimator",
    "Forecast",
    "Forecasts",
    "Harmonic",
    "Holt",
    "Last",
    "Level",
    "Quantile",
    "Switching",
    "make_estimator",
]

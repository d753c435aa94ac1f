"""How far below the expected rate to plan, so that a given share q of real rates lies below: calibrated while running.

    e     = (ln bps - level) / drift                                    what a forecast was off by
    theta = theta + γ · (q - [e < theta · scale])
    scale = scale + g · (min(|e|, 3 · scale + 0.05) - scale)            how much they are off by of late
    low   = level + theta · scale · drift
    high  = level + 3 · max(scale, 0.2) · drift             what the link may have become: no forecast has been near it

Each real rate below `low` pushes theta down by γ (1 - q), each one above pulls it up by γ q. So it rests only where a
share q of them lies below, whatever the link does and however wrong the level is (adaptive conformal inference, Gibbs
and Candès 2021, arXiv 2106.00170; on the quantile itself, Angelopoulos and others 2023, arXiv 2307.16895). `scale`
tells a calm link from a wild one within some 20 steps; one jump of a calm link, cut off at 3 scales, is not wild yet.

drift = sqrt(time since the newest sample / usual time between two), from 1 to 4: what was not measured may have moved.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence

Floats = NDArray[np.float64]

SHORTEST_S = 1e-9  # between two samples; less is no time


@final
class Doubt:
    """The low quantile of N links' next rates. Every forecast counts once: what is kept is a share of steps."""

    START = 0.2  # scale of a link of which nothing is known
    START_COUNT = 0.5  # forecasts that it counts as
    GAIN = 1 / 20  # g; the first scales are plain averages
    STEP = 0.05  # γ
    WILD, ODD = 3.0, 0.05  # scales, and ln, from which on an error is cut off
    FURTHEST = 16.0  # of theta, and of drift squared
    NEAREST = 1 / 3  # of theta, as a share of where it starts: a link that was still is not trusted blindly

    def __init__(self, quantile: float, links: int) -> None:
        self._quantile = min(max(quantile, 1e-3), 1 - 1e-3)
        start = laplace(self._quantile)
        self._low = self.NEAREST * start if start > 0 else -self.FURTHEST
        self._high = self.NEAREST * start if start < 0 else self.FURTHEST
        self._theta = np.full(links, start)
        self._scale = np.full(links, self.START)
        self._count = np.full(links, self.START_COUNT)
        self._usual_s = np.zeros(links)  # between two samples

    @property
    def scale(self) -> Floats:
        """(N,) mean |e|: the relative error of the latest forecasts."""
        return self._scale

    def low(self, level: Floats, age_s: Floats) -> Floats:
        """(N,) ln of the low rate, where the newest sample is `age_s` old."""
        low: Floats = level + self._theta * self._scale * self._drift(age_s + self._usual_s)
        return low

    def high(self, level: Floats, age_s: Floats) -> Floats:
        """(N,) ln of a rate that the link hardly exceeds; 0.2 at least, as a link that was still may yet change."""
        high: Floats = level + self.WILD * np.maximum(self._scale, self.START) * self._drift(age_s + self._usual_s)
        return high

    def update(self, level: Floats, evidence: Evidence, known: NDArray[np.bool_]) -> None:
        """Learn from what came true of `level`, of the links that were known before."""
        told = evidence.seen & known
        error = (evidence.log_bps - level) / self._drift(evidence.elapsed_s)
        theta = self._theta + self.STEP * (self._quantile - (error < self._theta * self._scale))
        np.copyto(self._theta, np.minimum(np.maximum(theta, self._low), self._high), where=told)
        self._count += told
        gain = np.maximum(self.GAIN, 1 / self._count)
        size = np.minimum(np.abs(error), self.WILD * self._scale + self.ODD)
        np.copyto(self._scale, self._scale + gain * (size - self._scale), where=told)
        gain = np.where(self._usual_s > SHORTEST_S, self.GAIN, 1.0)
        np.copyto(self._usual_s, self._usual_s + gain * (evidence.elapsed_s - self._usual_s), where=told)

    def _drift(self, since_s: Floats) -> Floats:
        usual_s = np.where(self._usual_s > SHORTEST_S, self._usual_s, np.inf)
        drift: Floats = np.sqrt(np.minimum(np.maximum(since_s / usual_s, 1.0), self.FURTHEST))
        return drift


def laplace(quantile: float) -> float:
    """Quantile of a Laplace distribution around 0 with mean distance 1."""
    return math.log(2 * quantile) if quantile < 0.5 else -math.log(2 * (1 - quantile))

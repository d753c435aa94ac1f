"""The newest sample."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.forecast.evidence import Evidence
from kimad.forecast.interface import Level

Floats = NDArray[np.float64]


@final
class Last(Level):
    """level += share · (ln bps - level). Time constant: one sample as good as those before it."""

    def __init__(self, links: int = 1) -> None:
        self._level = np.zeros(links)

    def update(self, evidence: Evidence) -> None:
        self._level += evidence.share * (evidence.log_bps - self._level)

    def log_bps(self) -> Floats:
        return self._level.copy()

"""From samples to evidence: what cannot be true is ignored and counted, and the rest is weighed.

    weight = min(1, bytes / 1 MB) · min(1, seconds / 5 ms)        but 0.04 at least: small or short ones say little
    kept   = 2^(-max(1, elapsed / half_life))                     by which all that was known before loses weight
    share  = min(1, weight / (kept · trust))                      of the newest sample in what is known of now
    trust  = (1 - share) · kept · trust + share · weight          how good that is

A sample as good as those before it has share 1, whatever their size; a small one after large ones begins with little
and gains as the large ones lose weight: a tenth as large, one after the other have .2, .48, 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]

FULL_WEIGHT_BYTES = 1_000_000
FULL_WEIGHT_S = 5e-3
MIN_WEIGHT = 0.04  # so that of small samples after large ones the fourth is believed
MIN_BPS, MAX_BPS = 1.0, 1e15  # bit/s; no link is slower or faster
MAX_BYTES, MAX_S = 1e18, 1e9  # of one sample; of a monotonic clock
SHORTEST_S = 1e-9  # of a half-life
PATIENCE = 8  # samples in a row from before the newest one: then the clock was set back


@final
@dataclass(frozen=True)
class Evidence:
    """One sample a link, checked and weighed."""

    seen: NDArray[np.bool_]  # (N,) whether there is one; where there is none, no other column counts
    log_bps: Floats  # (N,) ln of bit/s
    weight: Floats  # (N,) 0 to 1
    kept: Floats  # (N,) 0 to 1/2
    share: Floats  # (N,) 0 to 1; 0 where there is no sample
    elapsed_s: Floats  # (N,) since the link's sample before; 0 for its first


@final
class Weighing:
    """Weighs the samples of N links."""

    def __init__(self, half_life_s: float, links: int) -> None:
        self._half_life_s = max(half_life_s, SHORTEST_S)
        self._time_s = np.full(links, -np.inf)  # of the newest sample
        self._trust = np.zeros(links)
        self._behind = np.zeros(links, np.int64)  # samples in a row with a time before that of the newest
        self.ignored = 0

    def weigh(self, samples: LinkSamples) -> Evidence:
        """What a step told."""
        bps, size, busy_s, time_s = samples.bps, samples.bytes, samples.busy_s, samples.time_s
        given = size != 0  # NaN is not 0
        seen = (bps >= MIN_BPS) & (bps <= MAX_BPS) & (size > 0) & (size <= MAX_BYTES) & (busy_s > 0) & (busy_s <= MAX_S)
        if not abs(time_s) <= MAX_S:
            seen[:] = False
        behind = seen & (time_s < self._time_s)
        if behind.any():
            self._behind += behind
            restarted = behind & (self._behind > PATIENCE)
            self._time_s[restarted] = time_s
            seen &= ~behind | restarted
        self._behind[seen] = 0
        self.ignored += int(np.count_nonzero(given) - np.count_nonzero(seen))

        if not seen.all():  # so that nothing below overflows
            bps, size, busy_s = np.where(seen, (bps, size, busy_s), 1.0)
        weight = np.minimum(size / FULL_WEIGHT_BYTES, 1.0) * np.minimum(busy_s / FULL_WEIGHT_S, 1.0)
        weight = np.where(seen, np.maximum(weight, MIN_WEIGHT), 0.0)
        first = self._trust == 0
        elapsed_s = np.where(seen & ~first, time_s - np.where(first, 0.0, self._time_s), 0.0)
        kept = 0.5 ** np.maximum(elapsed_s / self._half_life_s, 1.0)
        old = kept * self._trust
        share = weight / np.maximum(old, np.maximum(weight, MIN_WEIGHT))
        np.copyto(self._trust, old + share * (weight - old), where=seen)
        np.copyto(self._time_s, time_s, where=seen)
        return Evidence(seen, np.log(bps), weight, kept, share, elapsed_s)

"""What one wants to know of a trace: mean, extremes, quantiles over time, and a line of blocks to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.trace.steps import Steps

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BLOCKS = "▁▂▃▄▅▆▇█"  # of unicode, from low to high
MARKS = ".:-=+*#@"  # the same in ASCII
DEAD = "_"  # no bandwidth at all


@final
@dataclass(frozen=True)
class Figures:
    """One period of a trace, in numbers."""

    seconds: float  # s, length
    steps: int  # how many
    total_bytes: float  # bytes that the link carries in that time
    mean_mbps: float  # Mbit/s
    min_mbps: float  # Mbit/s
    max_mbps: float  # Mbit/s
    quantiles_mbps: tuple[float, ...]  # Mbit/s, for QUANTILES of the time
    zero_share: float  # 0 to 1, of the time at rate 0


def figures(steps: Steps) -> Figures:
    """The figures of a trace; quantile q is the smallest rate that is not exceeded during a share q of the time."""
    durations_s = steps.durations_s
    rates_mbps = steps.rates_mbps
    order = np.argsort(rates_mbps, kind="stable")
    share = np.cumsum(durations_s[order]) / durations_s.sum()
    at = np.minimum(np.searchsorted(share, np.array(QUANTILES) - 1e-12, side="left"), len(order) - 1)
    mbit = float(np.sum(durations_s * rates_mbps))
    return Figures(
        seconds=float(steps.end_s),
        steps=len(rates_mbps),
        total_bytes=mbit * 1e6 / 8,
        mean_mbps=mbit / float(steps.end_s),
        min_mbps=float(rates_mbps.min()),
        max_mbps=float(rates_mbps.max()),
        quantiles_mbps=tuple(float(rate) for rate in rates_mbps[order][at]),
        zero_share=float(durations_s[rates_mbps == 0].sum() / durations_s.sum()),
    )


def sparkline(rates_mbps: NDArray[np.float64], blocks: str = BLOCKS) -> str:
    """One character a rate, from 0 to the highest; `DEAD` where it is 0."""
    top = float(rates_mbps.max()) if len(rates_mbps) else 0.0
    if top == 0:
        return DEAD * len(rates_mbps)
    levels = np.maximum(np.ceil(rates_mbps / top * len(blocks) - 1e-6).astype(int) - 1, 0)
    return "".join(DEAD if rate == 0 else blocks[level] for rate, level in zip(rates_mbps, levels, strict=True))

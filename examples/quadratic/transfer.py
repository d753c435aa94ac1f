"""When a message has arrived: the link's rate, integrated until the bits are through.

finish = the smallest t with C(t) − C(start) = bits,   C(t) = ∫_0^t B,   B(t) = η · sin²(θt) + δ
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kimad.trace import PaperSine

Floats = NDArray[np.float64]

_POINTS = 1024  # of a period, from which a first guess is read
_STEPS = 100  # at worst, by halving; two or three are needed
_ROUNDING = 1e-13  # of what a period carries: nearer is as good as equal


def rate_bps(link: PaperSine, t_s: Floats) -> Floats:
    """B at `t_s`, in bit/s."""
    rate: Floats = 1e6 * (link.delta_mbps + link.eta_mbps * np.sin(link.theta_rad_per_s * t_s) ** 2)
    return rate


def finish_s(link: PaperSine, start_s: Floats, bits: Floats) -> Floats:
    """When messages of `bits` that begin at `start_s` have arrived; both of one shape.

    Whole periods are counted off, and in the last one C(t) = target is solved by Newton's steps, kept in a bracket.

    Raises:
        ValueError: the link never carries anything.
    """
    sine = link.sine
    grid_s, grid_bits = _period(link)
    period_s, period_bits = float(grid_s[-1]), float(grid_bits[-1])
    if period_bits <= 0:
        raise ValueError(f"link {link} never carries anything; η + δ must be above 0")
    start_turns = np.floor(start_s / period_s)  # the numbers of one period have small rounding errors
    target = 1e6 * sine.carried_mbit(start_s - start_turns * period_s) + bits
    turns = np.floor(target / period_bits)
    target = target - turns * period_bits
    low, high = np.zeros_like(target), np.full_like(target, period_s)
    t_s = np.interp(target, grid_bits, grid_s)
    for _ in range(_STEPS):
        over = 1e6 * sine.carried_mbit(t_s) - target
        if np.abs(over).max(initial=0.0) <= _ROUNDING * period_bits:
            break
        low, high = np.where(over < 0, t_s, low), np.where(over > 0, t_s, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = t_s - over / rate_bps(link, t_s)
        t_s = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return np.maximum((start_turns + turns) * period_s + t_s, start_s)


@lru_cache
def _period(link: PaperSine) -> tuple[Floats, Floats]:
    """Moments of one period, and the bits carried until each."""
    grid_s = np.linspace(0.0, link.sine.cycle_s, _POINTS + 1)
    return grid_s, 1e6 * link.sine.carried_mbit(grid_s)

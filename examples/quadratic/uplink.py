"""EF21 alone, as its theorems have it: the model comes down exactly, and only gradients are compressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from examples.quadratic import ef21
from examples.quadratic.allocation import Compressor
from examples.quadratic.budget import entries_within, message_bits
from examples.quadratic.problem import Quadratics
from examples.quadratic.transfer import finish_s, rate_bps
from kimad.trace import PaperSine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Descent:
    """T rounds with R step sizes, from x⁰ = 0 and u_m⁰ = C(∇f_m(x⁰))."""

    squared_norm: Floats  # (T, R) ‖∇f(x^t)‖²
    gap: Floats  # (T, R) f(x^t) − f*
    start_error: float  # G⁰
    least_kept: float  # of all messages the smallest ‖C(v)‖² / ‖v‖²


def descend(problem: Quadratics, compress: Compressor, entries: Ints, gammas: Floats) -> Descent:
    """EF21 with `entries[t]` entries a message in round t, for every step size of (R,) `gammas`."""
    layers, width = problem.minimum.shape
    x = np.zeros((len(gammas), layers, width))
    u = np.zeros((len(gammas), *problem.curvature.shape))
    squared_norm, gap = np.empty((2, len(entries), len(gammas)))
    start_error, least_kept = 0.0, 1.0
    for t, k in enumerate(entries):
        gradients = problem.gradients(x)
        owed = ef21.owed(gradients, u).reshape(-1, layers, width)
        decoded, _ = compress(owed, np.full(len(owed), k))
        energy, kept = (owed**2).sum(axis=(1, 2)), (decoded**2).sum(axis=(1, 2))
        least_kept = min(least_kept, float(np.min(kept[energy > 0] / energy[energy > 0], initial=1.0)))
        u = ef21.received(u, decoded.reshape(u.shape))
        if t == 0:
            start_error = float(((u[0] - gradients[0]) ** 2).sum(axis=(1, 2)).mean())
        squared_norm[t], gap[t] = (problem.gradient(x) ** 2).sum(axis=(1, 2)), problem.gap(x)
        x = ef21.step(x, u, gammas)
    return Descent(squared_norm, gap, start_error, least_kept)


def least_entries(link: PaperSine, comm_s: float, layers: int, size: int) -> int:
    """The fewest entries of any message on the link: those of its lowest rate; never all of them."""
    trough = np.array(1e6 * link.delta_mbps)
    return min(int(entries_within(trough, np.array(comm_s), layers, size)), size - 1)


def entries_on(link: PaperSine, compute_s: float, comm_s: float, rounds: int, layers: int, size: int) -> Ints:
    """(rounds,) What Kimad sends on a link whose rate it knows; one entry more or less where two would be equal."""
    entries = np.empty(rounds, np.int64)
    clock_s = np.zeros(1)
    before = 0
    for t in range(rounds):
        now = int(entries_within(rate_bps(link, clock_s), np.array(comm_s), layers, size)[0])
        if now == before:
            now += 1 if now < size else -1
        entries[t] = before = now
        clock_s = finish_s(link, clock_s, message_bits(entries[t : t + 1], size)) + compute_s
    return entries

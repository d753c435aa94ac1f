"""The rounds of a parameter server and its workers on a link that changes, for many runs at once.

A round: the server sends C(x − w) to all workers; each computes its gradient at w and sends C(∇f_m(w) − u_m); when
the last of them has arrived, the server takes its step. Every worker has a link up and a link down of its own, which
all have the rate B(t). Runs differ in what they send and in their step size; they share nothing but the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from examples.quadratic import ef21, ef21_p
from examples.quadratic.allocation import ALLOCATIONS
from examples.quadratic.budget import Sender, entries_within, message_bits
from examples.quadratic.problem import Quadratics
from examples.quadratic.run import Limits, Run
from examples.quadratic.transfer import finish_s, rate_bps
from kimad.trace import PaperSine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DIVERGED = 1e3  # times the gap at the start


@final
@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    problem: Quadratics
    link: PaperSine  # B(t) of every link
    compute_s: float  # s, a worker's, in each round
    seed: int  # of estimates at random


@final
@dataclass(frozen=True, eq=False)
class _State:
    """Of R runs; the first axis of every array."""

    run: Ints  # number of the run
    x: Floats  # (R, L, W) the server's model
    w: Floats  # (R, L, W) the workers' copy
    u: Floats  # (R, M, L, W) estimates of the gradients
    gamma: Floats  # (R,)
    clock_s: Floats  # (R,)
    down_bps: Floats  # (R, 1) rate of the last transfer down
    up_bps: Floats  # (R, M) rate of each worker's last transfer up
    fixed: Ints  # (R, 1) entries of a message, or -1
    comm_s: Floats  # (R, 1) seconds for a transfer
    at_start: Bools  # (R, 1) estimate is "start"
    at_random: Bools  # (R, 1) estimate is "random"

    def only(self, keep: Bools) -> _State:
        return _State(**{name: value[keep] for name, value in vars(self).items()})


def simulate(setting: Setting, runs: Sequence[tuple[Sender, float]], limits: Limits) -> list[Run]:
    """Run pairs of sender and step size, all of the same allocation.

    Of runs that have the same sender only those go on that may still be the first at the target.
    """
    problem = setting.problem
    senders = [sender for sender, _ in runs]
    group = np.array([senders.index(sender) for sender in senders])
    first_s = np.full(len(runs), np.inf)  # when a run of each group was at the target
    rng = np.random.default_rng(setting.seed)
    state = _start(setting, runs)
    clocks, gaps = [], []
    for _ in range(limits.rounds):
        state = _round(state, setting, runs[0][0].allocation, rng.uniform(size=2))
        gap = problem.gap(state.x) / problem.start_gap
        clock_s, now = np.full((2, len(runs)), np.nan)
        clock_s[state.run], now[state.run] = state.clock_s, gap
        clocks.append(clock_s)
        gaps.append(now)
        there = gap <= limits.target
        np.minimum.at(first_s, group[state.run[there]], state.clock_s[there])
        ahead = state.clock_s < np.minimum(first_s[group[state.run]], limits.seconds)
        go_on = ahead & ~there & (gap <= DIVERGED)
        if not go_on.all():
            state = state.only(go_on)
            if not len(state.run):
                break
    t_s, gap = np.stack(clocks), np.stack(gaps)
    took = np.isfinite(t_s).sum(axis=0)
    return [Run(s, g, t_s[: took[i], i], gap[: took[i], i]) for i, (s, g) in enumerate(runs)]


def _start(setting: Setting, runs: Sequence[tuple[Sender, float]]) -> _State:
    """Everything is 0, and the rate at t = 0 is known."""
    count, (workers, layers, width) = len(runs), setting.problem.curvature.shape
    senders = [sender for sender, _ in runs]
    comm_s = [0.0 if s.round_s is None else (s.round_s - setting.compute_s) / 2 for s in senders]
    return _State(
        run=np.arange(count),
        x=np.zeros((count, layers, width)),
        w=np.zeros((count, layers, width)),
        u=np.zeros((count, workers, layers, width)),
        gamma=np.array([gamma for _, gamma in runs]),
        clock_s=np.zeros(count),
        down_bps=rate_bps(setting.link, np.zeros((count, 1))),
        up_bps=rate_bps(setting.link, np.zeros((count, workers))),
        fixed=np.array([[-1 if s.entries is None else s.entries] for s in senders]),
        comm_s=np.array(comm_s)[:, None],
        at_start=np.array([[s.estimate == "start"] for s in senders]),
        at_random=np.array([[s.estimate == "random"] for s in senders]),
    )


def _round(state: _State, setting: Setting, allocation: str, dice: Floats) -> _State:
    """One round of all runs; `dice`: two numbers from 0 to 1, that place the random moments in a period."""
    workers, problem = setting.problem.curvature.shape[0], setting.problem

    start_s = state.clock_s[:, None]
    owed = ef21_p.owed(state.x, state.w)[:, None]
    decoded, bits = _compressed(
        owed, _estimate(state, setting.link, state.down_bps, start_s, dice[0]), state, allocation
    )
    w = ef21_p.received(state.w, decoded[:, 0])
    arrived_s = finish_s(setting.link, start_s, bits)
    down_bps = _rate(bits, arrived_s - start_s, state.down_bps)

    start_s = np.repeat(arrived_s + setting.compute_s, workers, axis=1)
    owed = ef21.owed(problem.gradients(w), state.u)
    decoded, bits = _compressed(owed, _estimate(state, setting.link, state.up_bps, start_s, dice[1]), state, allocation)
    u = ef21.received(state.u, decoded)
    arrived_s = finish_s(setting.link, start_s, bits)
    up_bps = _rate(bits, arrived_s - start_s, state.up_bps)

    x = ef21.step(state.x, u, state.gamma)
    return replace(state, x=x, w=w, u=u, clock_s=arrived_s.max(axis=1), down_bps=down_bps, up_bps=up_bps)


def _estimate(state: _State, link: PaperSine, last_bps: Floats, start_s: Floats, die: float) -> Floats:
    """(R, V) B_est of each transfer."""
    period_s = link.sine.cycle_s
    known_bps = np.where(state.at_start, rate_bps(link, start_s), last_bps)
    return np.where(state.at_random, rate_bps(link, np.array(die * period_s)), known_bps)


def _compressed(owed: Floats, estimate_bps: Floats, state: _State, allocation: str) -> tuple[Floats, Floats]:
    """(R, V, L, W) vectors, of which V messages go out -> what arrives of them, and (R, V) bits."""
    layers, width = owed.shape[2:]
    size = layers * width
    entries = np.where(state.fixed > 0, state.fixed, entries_within(estimate_bps, state.comm_s, layers, size))
    decoded, sent = ALLOCATIONS[allocation](owed.reshape(-1, layers, width), entries.ravel())
    return decoded.reshape(owed.shape), message_bits(sent, size).reshape(entries.shape)


def _rate(bits: Floats, took_s: Floats, before_bps: Floats) -> Floats:
    """Mean rates of transfers; that of the one before where nothing was sent."""
    return np.where(took_s > 0, bits / np.where(took_s > 0, took_s, 1.0), before_bps)

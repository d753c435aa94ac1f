"""When to send more than was picked, so that the link is measured: where what that could change is worth its cost.

A step whose frames are small measures no link (`monitor`), so a link that became faster goes unseen. With progress
p = sqrt(1 - error) / t of a step of t seconds, and the forecast's low, mean and high rates:

    gain    = p(best plan at the high rate) / p(plan that was picked, at the high rate) - 1
    worth_s = doubt · gain · age / 2
    loss_s  = t(probe) - t(picked) · sqrt((1 - error(probe)) / (1 - error(picked)))         at one rate
    cost_s  = (1 - doubt) · loss_s(low rate) + doubt · loss_s(high rate)

A probe is sent where worth_s > cost_s, or age > latest_s, but not before age > 150 · (t(probe) - t(picked)): probes
take no more than 0.7 % of the time. After a glimpse worth_s > cost_s is enough, with 10 s for a smaller age.

age: s since the newest sample. What is found out now will be half as old as that, on average, until it is found out
anew; so worth_s is what was lost on average by not knowing, and to probe where it reaches the cost is the best spacing
of probes if nothing else tells of a change. The loss is small, because a probe is gradient that need not be sent later;
where the objective is not progress it is the time alone.

doubt: the chance that the link has become that fast. As far as nobody knows better, 1 - 2^(-age / CHANGE_S). But the
last step may have been a glimpse: it took all ranks so little time that the link must have been `FASTER` than its mean.
Then the chance is a half, halved for each glimpse in a row that its probe did not confirm: a queue that takes in small
frames at once deceives in every step.

The probe is one valid sample at the high rate, with as many bytes as that needs and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.candidates import Candidates
from kimad.forecast import Forecast
from kimad.menu import Menu
from kimad.monitor import FIRST_PIECE_BYTES, LONG_S, MIN_LONG_BYTES, MIN_SAMPLE_BYTES, enough
from kimad.objective import Objective, Progress
from kimad.solver import Solver

Floats = NDArray[np.float64]

CHANGE_S = 600.0  # s in which a link that nothing is heard of has changed with a chance of a half
FASTER = 1.5  # times the mean rate
GLIMPSE_S = 10.0  # s for which what a glimpse lets find out is of use, at least
PATIENCE = 150.0  # times the seconds that a probe takes, for which it waits
CONFIRMED = 1.2  # times the mean rate, to which it rises by a sample that confirms a glimpse
SLACK = 1.1  # bytes of a probe over those that it needs, as coding takes a share of its time
MARGIN = 1.5  # times the high rate, for which a probe is still long enough to be a sample


@final
@dataclass(frozen=True)
class Known:
    """What is known of the slowest link."""

    forecast: Forecast
    glimpse_bps: float  # bit/s that it had at least in the last step; 0 if nothing was seen
    unconfirmed: int  # glimpses in a row that probes did not confirm
    copies: float  # frames that a rank receives

    @property
    def glimpsed(self) -> bool:
        """Whether the last step was too quick for the forecast."""
        return self.glimpse_bps > FASTER * self.forecast.mean_bps

    @property
    def high_bps(self) -> float:
        """Rate that the link may have by now."""
        return max(self.forecast.high_bps, self.glimpse_bps) if self.glimpsed else self.forecast.high_bps

    @property
    def doubt(self) -> float:
        """Chance that it has."""
        seldom = -math.expm1(-math.log(2) * self.forecast.age_s / CHANGE_S)
        return max(seldom, 0.5 ** (1 + self.unconfirmed)) if self.glimpsed else seldom


def probe_bytes(
    frontier: Candidates, picked: Candidates, objective: Objective, known: Known, latest_s: float
) -> float | None:
    """Bytes that a sample needs, beyond the first piece of each frame; None where no probe is to be sent.

    frontier: plans from cheap to dear. picked: the plan that the objective picked. All at the low rate.
    """
    age_s, high_bps = known.forecast.age_s, MARGIN * known.high_bps
    if age_s <= 0 or enough(counted_bytes(picked, known.copies), high_bps)[0]:
        return None
    needed = min(float(MIN_SAMPLE_BYTES), max(float(MIN_LONG_BYTES), LONG_S * high_bps / 8))
    counted = counted_bytes(frontier, known.copies)
    if counted.max() < needed:
        return None  # the whole gradient is no sample
    sent = frontier.wire_bytes
    by_count, by_size = np.argsort(counted, kind="stable"), np.argsort(sent, kind="stable")
    least = SLACK * needed + known.copies * FIRST_PIECE_BYTES  # in one frame; plans of the frontier have one a bucket
    probe = max(least, float(np.interp(needed, counted[by_count], sent[by_count])))

    def loss_s(bps: float) -> tuple[float, float]:
        """Seconds that the probe takes longer, and those less what its gradient is worth."""
        points, kept = frontier.points(bps), picked.points(bps)
        step_s, error = (float(np.interp(probe, sent[by_size], c[by_size])) for c in (points.step_s, points.error))
        more = 1.0
        if objective.scores(kept) is not None:
            more = math.sqrt((1 - error) / max(1 - float(kept.error[0]), 1e-9))
        return step_s - float(kept.step_s[0]), max(0.0, step_s - more * float(kept.step_s[0]))

    longer_s, loss_low_s = loss_s(frontier.bps)
    patient = age_s > PATIENCE * longer_s
    if age_s > latest_s and patient:
        return needed
    if not patient and not known.glimpsed:
        return None
    cost_s = (1 - known.doubt) * loss_low_s + known.doubt * loss_s(high_bps)[1]
    fast, kept_fast = frontier.points(high_bps), picked.points(high_bps)
    progress = Progress().scores
    gain = math.expm1(max(0.0, float(progress(fast)[objective.pick(fast)] - progress(kept_fast)[0])))
    horizon_s = (max(age_s, GLIMPSE_S) if known.glimpsed else age_s) / 2
    return needed if known.doubt * gain * horizon_s > cost_s else None


@final
class Probing:
    """What is remembered from step to step to know when to probe."""

    def __init__(self, objective: Objective, latest_s: float, copies: float) -> None:
        self._objective, self._latest_s, self._copies = objective, latest_s, copies
        self._glimpse_bps = 0.0  # that all links had at least in the last step; 0 before there is one
        self._mean_bps = math.inf  # the forecast when a glimpse was followed; inf: none is
        self._unconfirmed = 0

    def observe(self, wire_s: float, wire_bytes: float) -> None:
        """A step is done, in which each rank sent so much and the slowest took so long for it."""
        self._glimpse_bps = 8 * wire_bytes / wire_s if wire_s > 0 else 0.0

    def choose(
        self, menu: Menu, solver: Solver, frontier: Candidates, picked: Candidates, forecast: Forecast
    ) -> Candidates:
        """What was picked, or a probe in its place: one plan. All are at the forecast's low rate."""
        if self._mean_bps < math.inf:
            confirmed = forecast.mean_bps > CONFIRMED * self._mean_bps
            self._unconfirmed = 0 if confirmed else self._unconfirmed + 1
            self._mean_bps = math.inf
        known = Known(forecast, self._glimpse_bps, self._unconfirmed, self._copies)
        needed = probe_bytes(frontier, picked, self._objective, known, self._latest_s)
        if needed is None:
            return picked
        if known.glimpsed:
            self._mean_bps = forecast.mean_bps
        return self._probe(menu, solver, picked, needed)

    def _probe(self, menu: Menu, solver: Solver, picked: Candidates, needed: float) -> Candidates:
        """The least that has `needed` bytes beyond the first pieces, in as few frames as it can be."""
        buckets = picked.link_s.shape[1]
        frames = 1
        while True:
            sent = SLACK * needed + frames * self._copies * FIRST_PIECE_BYTES
            choice = solver.solve(menu, 8 * sent / picked.bps + float(picked.coding_s.sum()))
            found = Candidates.of(menu, [choice], picked.ready_s, picked.bps)
            if frames == buckets or counted_bytes(found, self._copies)[0] >= needed:
                return found
            frames = min(2 * frames, buckets)


def counted_bytes(candidates: Candidates, copies: float) -> Floats:
    """(P,) bytes behind the sample that each plan gives: without the first piece of every frame."""
    sent = candidates.link_s * candidates.bps / 8
    whole = np.stack([choice.whole for choice in candidates.choices]) >= 0
    counted: Floats = np.where(whole, sent, np.maximum(sent - copies * FIRST_PIECE_BYTES, 0.0)).sum(axis=1)
    return counted

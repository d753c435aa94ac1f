"""Pairs of choices, one for most ranks and a smaller one for those whose uplink is slow, and what they come to.

Frames go to all, so the exchange of a bucket takes as long as the slowest direction of any rank. With N ranks, m of
which are slow and send the frames of a choice q, the others those of p, in seconds of the menu's rate:

    up, others       p * rate / up        down, others        ((N-m-1) p + m q) / (N-1) * rate / down
    up, slow ones    q * rate / up        down, slow ones     ((N-m) p + (m-1) q) / (N-1) * rate / down

    error = ((N-m) error(p) + m error(q)) / N

What is slow in both directions gains nothing by sending less: everybody else's frames have to pass its downlink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.candidates import Candidates
from kimad.monitor import FIRST_PIECE_BYTES, enough
from kimad.objective import Objective, Points
from kimad.timeline import finish_s

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GAP, HELD_GAP = 1.5, 1.2  # times by which uplinks must differ before anybody is slow, and for as long as it is


@final
@dataclass(frozen=True)
class Rates:
    """What to plan on, in bit/s, by rank, and which ranks are slow."""

    up_bps: Floats  # (N,)
    down_bps: Floats  # (N,)
    slow: Bools  # (N,)

    @property
    def shares(self) -> Floats:
        """(4, 2): bits that the slowest link of a kind carries of a copy of p and of one of q, and takes seconds for.

        Rows as above; a row is (p's weight, q's weight) / rate.
        """
        n, m = len(self.slow), int(self.slow.sum())
        weights = np.array([[n - 1, 0], [0, n - 1], [n - m - 1, m], [n - m, m - 1]], np.float64) / (n - 1)
        kinds = ((self.up_bps, ~self.slow), (self.up_bps, self.slow), (self.down_bps, ~self.slow),
                 (self.down_bps, self.slow))  # fmt: skip
        shares: Floats = weights / np.array([[rate[of].min()] for rate, of in kinds])
        return shares

    @property
    def ranks(self) -> tuple[int, ...]:
        """The slow ones."""
        return tuple(np.flatnonzero(self.slow).tolist())

    def with_slow(self, ranks: Sequence[int]) -> Rates:
        """The same, with these ranks as the slow ones."""
        return replace(self, slow=np.isin(np.arange(len(self.slow)), ranks))

    @property
    def still_slow(self) -> bool:
        """Whether there are slow ranks, and all of them are slower than the others.

        Downlinks that nobody fills seem slower than they are, so that sending less alone proves nothing.
        """
        slow = self.slow
        return bool(slow.any()) and bool(self.up_bps[~slow].min() >= HELD_GAP * self.up_bps[slow].max())

    @property
    def slowest_bps(self) -> float:
        """Of all links in both directions: the rate of one plan for all."""
        return float(min(self.up_bps.min(), self.down_bps.min()))


def slow_ranks(up_bps: Floats) -> tuple[int, ...]:
    """The ranks below the widest gap between uplinks; none where no gap is GAP wide."""
    rising = np.sort(up_bps)
    gaps = rising[1:] / rising[:-1]
    at = int(gaps.argmax())
    return tuple(np.flatnonzero(up_bps <= rising[at]).tolist()) if gaps[at] >= GAP else ()


def pair_link_s(p_s: Floats, q_s: Floats, bps: float, rates: Rates) -> Floats:
    """Seconds on the links, where p_s and q_s are those of the two choices' frames at `bps`; arrays of one shape."""
    seconds: Floats = np.max([bps * (a * p_s + b * q_s) for a, b in rates.shares.tolist()], axis=0)
    return seconds


@final
@dataclass(frozen=True)
class Pairs:
    """K pairs of the P choices of a frontier, of which the second sends less; whole buckets are the same in both.

    A rank that sends less must still send enough for its uplink to be measured.
    """

    first: Ints  # (K,) number of the choice p
    second: Ints  # (K,) of q
    points: Points  # of the K pairs
    link_s: Floats  # (K,)

    @classmethod
    def of(cls, among: Candidates, rates: Rates) -> Pairs:
        """All that there are."""
        whole = np.stack([choice.whole for choice in among.choices])
        total_s = among.link_s.sum(axis=1)
        alike = (whole[:, None] == whole[None]).all(axis=2)
        allowed = alike & (total_s[None] < total_s[:, None]) & measured(among, whole, rates)[None]
        first, second = np.nonzero(allowed)
        p_s, q_s = among.link_s[first], among.link_s[second]
        in_whole_s = p_s * (among.bps / rates.slowest_bps)
        link_s = np.where(whole[first] >= 0, in_whole_s, pair_link_s(p_s, q_s, among.bps, rates))
        share = float(rates.slow.mean())
        error = (1 - share) * among.error[first] + share * among.error[second]
        return cls(first, second, _points(among, link_s, among.coding_s[first], error), link_s.sum(axis=1))


def measured(among: Candidates, whole: Ints, rates: Rates) -> Bools:
    """(P,) whether frames of slow ranks tell, twice over, what their uplinks carry (`samples_of`). whole: (P, B)."""
    copies = len(rates.slow) - 1
    copy_bytes = among.link_s * (among.bps / 8 / copies)
    timed = copies * np.where(whole < 0, np.maximum(copy_bytes - FIRST_PIECE_BYTES, 0.0), 0.0).sum(axis=1) / 2
    return enough(timed, float(rates.up_bps[rates.slow].min()))


def single(among: Candidates, rates: Rates) -> Points:
    """What each choice comes to as the one plan of all."""
    return _points(among, among.link_s * (among.bps / rates.slowest_bps), among.coding_s, among.error)


def _points(among: Candidates, link_s: Floats, coding_s: Floats, error: Floats) -> Points:
    step_s = finish_s(among.ready_s, link_s, coding_s)
    return Points(step_s, (link_s + coding_s).sum(axis=1), error, float(among.ready_s[-1]))


def beats_one_plan(objective: Objective, among: Candidates, rates: Rates, margin: float) -> tuple[int, int] | None:
    """The best pair, as numbers of its choices, if it is better than every choice though it counts `margin` times."""
    one, pairs = single(among, rates), Pairs.of(among, rates)
    both = Points(
        np.concatenate([one.step_s, margin * pairs.points.step_s]),
        np.concatenate([one.cost_s, margin * pairs.points.cost_s]),
        np.concatenate([one.error, pairs.points.error]),
        one.compute_s,
    )
    if not len(pairs.first):
        return None
    picked = objective.pick(both) - len(one.error)
    return None if picked < 0 else (int(pairs.first[picked]), int(pairs.second[picked]))

"""Whether ranks whose uplink is slow send less than the others in the step to come.

Pairs of choices (`kimad.pairs`) are weighed against single ones by the objective. A pair must win by MARGIN, PATIENCE
steps in a row for the same ranks, before it is taken, and is given up as soon as one plan for all is as good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from kimad.candidates import Candidates
from kimad.config import Config
from kimad.directions import direction_samples
from kimad.monitor import LinkSamples
from kimad.objective import Points
from kimad.pairs import Pairs, Rates, beats_one_plan, single, slow_ranks
from kimad.plan import MANY
from kimad.shared_link import SharedLink
from kimad.solver import Choice
from kimad.statistics import Everyone
from kimad.verdict import quantity

MARGIN = 1.05  # times that the step of a pair counts as long as it is, until the pair is in force
PATIENCE = 3  # steps in a row


@final
@dataclass(frozen=True)
class Pair:
    """Two choices, and what they come to."""

    ranks: tuple[int, ...]  # that take `own`
    common: Choice
    own: Choice
    wire_bytes: float  # that a rank sends by `common`
    predicted: dict[str, float]  # seconds: step_s, compute_s, link_s, coding_s; and the relative squared error
    why: str


@final
class Unequal:
    """Says, from the forecast for each direction of each rank, whether some ranks shall send less."""

    def __init__(self, config: Config, world_size: int, exchange: str, link: SharedLink) -> None:
        self._objective = config.objective
        self._refresh_steps = config.refresh_steps
        self._possible = exchange == "all-gather" and world_size <= MANY and config.objective.adaptive
        self._link = link
        self._ranks: tuple[int, ...] = ()  # that send less in the plan in force
        self._streak: tuple[tuple[int, ...], int] = (), 0  # ranks that would do so, for how many steps
        self._said: tuple[tuple[int, ...], int, str] = (), 0, ""  # ranks, step, and the sentence

    def observe(self, samples: LinkSamples, everyone: Everyone) -> LinkSamples:
        """Take in a step. Returns its samples as they would be with one plan for all, if it had two.

        With one plan each rank waits for the slowest of its downlink and of all others' uplinks. Beside other models'
        traffic directions are not measured: who received what of it from whom is not told.
        """
        peers = everyone.peers if self._possible and everyone.share == 1 else None
        if peers is None:
            return samples
        up, down = direction_samples(samples.time_s, peers)
        if not (self._link.update_directions(up, down) and self._ranks):
            return samples
        others = np.where(np.eye(len(up.bps), dtype=bool), np.inf, up.bps).min(axis=1)
        return LinkSamples(samples.time_s, np.minimum(down.bps, others), samples.bytes, samples.busy_s)

    def pick(self, step: int, frontier: Candidates, closer: Callable[[int], Candidates], now_s: float) -> Pair | None:
        """The pair to take in place of one plan, or None. frontier: all choices; closer: those around one of them."""
        rates = self._rates(now_s)
        if rates is None:
            self.forget()
            return None
        new, held = rates.with_slow(slow_ranks(rates.up_bps)), rates.with_slow(self._ranks)
        best = None
        if new.ranks and new.ranks != self._ranks:
            best = beats_one_plan(self._objective, frontier, new, MARGIN)
        before, count = self._streak
        self._streak = new.ranks, (count + 1 if new.ranks == before else 1) if best is not None else 0
        if best is None or self._streak[1] < PATIENCE:
            new = held
            best = beats_one_plan(self._objective, frontier, held, 1.0) if held.still_slow else None
        self._ranks = new.ranks if best is not None else ()
        if best is None:
            return None
        return self._closer(step, frontier, closer(best[0]).with_those(closer(best[1])), new)

    def forget(self) -> None:
        """One plan is taken for all, whatever would be better."""
        self._ranks, self._streak = (), ((), 0)

    def _rates(self, now_s: float) -> Rates | None:
        known = self._link.directions(now_s) if self._possible else None
        return Rates(*known, np.zeros(len(known[0]), bool)) if known is not None else None

    def _closer(self, step: int, frontier: Candidates, near: Candidates, rates: Rates) -> Pair:
        pairs = Pairs.of(near, rates)
        at = self._objective.pick(pairs.points)
        common, own = int(pairs.first[at]), int(pairs.second[at])
        points = pairs.points
        predicted = {
            "step_s": float(points.step_s[at]),
            "compute_s": points.compute_s,
            "link_s": float(pairs.link_s[at]),
            "coding_s": float(points.cost_s[at] - pairs.link_s[at]),
            "error": float(points.error[at]),
        }
        ranks, then, why = self._said
        sizes = near.wire_bytes[[common, own]].tolist()
        if ranks != rates.ranks or step >= then + self._refresh_steps:
            why = self._words(rates, sizes, (points, at), single(frontier, rates))
            self._said = rates.ranks, step, why
        return Pair(rates.ranks, near.choices[common], near.choices[own], sizes[0], predicted, why)

    def _words(self, rates: Rates, sizes: list[float], taken: tuple[Points, int], one: Points) -> str:
        points, at = taken
        slow = rates.ranks
        who = f"rank{'s' if len(slow) > 1 else ''} {', '.join(map(str, slow))}"
        uplink = quantity(float(rates.up_bps[rates.slow].min()), "bit/s")
        other = self._objective.pick(one)
        found, single_ = self._objective.scores(points), self._objective.scores(one)
        if found is None or single_ is None:
            merits = [f"squared error {100 * p.error[i]:.2g} % in {p.step_s[i]:.3g} s"
                      for p, i in ((points, at), (one, other))]  # fmt: skip
        else:
            unit = self._objective.unit
            merits = [f"{np.exp(found[at]):.3g} {unit}", f"{np.exp(single_[other]):.3g} {unit}"]
        send, own, others = "send" if len(slow) > 1 else "sends", quantity(sizes[1], "B"), quantity(sizes[0], "B")
        return (
            f"{who}, whose uplink carries {uplink}, {send} {own} where the others send {others}: "
            f"{merits[0]} against {merits[1]} for one plan"
        )

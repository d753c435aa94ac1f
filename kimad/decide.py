"""The deciding half of the loop: from everyone's statistics to the next plan. Runs on rank 0.

samples -> forecast;  curves + forecast -> menu -> frontier;  objective picks a point -> plan
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.candidates import Candidates
from kimad.compressors import Option
from kimad.config import Config
from kimad.cost import CodingCost
from kimad.curves import Curve, SmoothedCurves
from kimad.forecast import Forecast
from kimad.layout import Layer
from kimad.menu import WHOLE, Menu, MenuMaker
from kimad.monitor import LinkSamples
from kimad.objective import Fixed
from kimad.observation import Observation
from kimad.outage import Outages
from kimad.plan import FLOAT32, Plan, all_reduce_bytes, cold_start_plan, fixed_plan, frame_copies
from kimad.probe import Probing
from kimad.shared_link import SharedLink
from kimad.solver import ALL_SOLVERS, Choice
from kimad.staleness import Staleness
from kimad.statistics import OPERATORS, Everyone
from kimad.unequal import Unequal
from kimad.verdict import Verdict, flip_bps, kind

Floats = NDArray[np.float64]
EARLY_STEPS = 3  # gradients change most at first, and buckets are not final: curves are read in each of these
LEAST_COLD_START_BYTES = 64 << 10  # of which a step measures a link, however small the model
QUICK_S = 0.1  # s on the wire, within which a step that measured nothing is one that sent too little
READY_STEPS = 7  # steps whose median says when a bucket is ready: one sleeping step does not count
SHARE_STEPS = 7  # steps whose median says what share of the link is this model's


@final
@dataclass(frozen=True)
class Decision:
    """A plan and why."""

    plan: Plan
    predicted: dict[str, float]  # seconds: step_s, compute_s, link_s, coding_s; and the relative squared error
    gap: float | None
    solve_s: float
    why: str = ""  # one sentence; empty until link and gradients have been measured


def first_plan(config: Config, layers: Sequence[Layer], world_size: int, exchange: str = "all-gather") -> Plan:
    """The plan of the first step: the fixed one, or one small enough for any network."""
    dense = config.by_name([layer.name for layer in layers]).dense
    if isinstance(config.objective, Fixed):
        return fixed_plan(layers, config.objective, dense=dense)
    budget_bytes = min(config.cold_start_bytes, most_cold_start_bytes(layers, world_size))
    return cold_start_plan(layers, budget_bytes, world_size, exchange, dense)


def most_cold_start_bytes(layers: Sequence[Layer], world_size: int) -> int:
    """Bytes of a step before the link is known, at most: a tenth of the dense gradient's."""
    return max(LEAST_COLD_START_BYTES, all_reduce_bytes(sum(layer.nbytes for layer in layers), world_size) // 10)


def curves_due(config: Config, step: int, before: Observation | None = None) -> bool:
    """Whether the error curves are read in a step: now and then, and after a void one that should have read them."""
    lost = before is not None and before.everyone.void and before.curves is not None
    return config.objective.adaptive and (lost or step < EARLY_STEPS or step % config.refresh_steps == 0)


@final
class Planner:
    """Keeps forecasts, curves and costs; decides. Uses no clock of its own but to time the solver.

    explain: whether decisions say why. known: what coding costs, where it is known before it is measured. link: where
    other models share it.
    """

    def __init__(
        self, config: Config, layers: Sequence[Layer], world_size: int, exchange: str = "all-gather", *,
        explain: bool = True, known: Mapping[str, float] | None = None, link: SharedLink | None = None,
    ) -> None:  # fmt: skip
        self._exchange = exchange
        self._config = config
        self._layers = list(layers)
        self._named = config.by_name([layer.name for layer in layers])
        self._world_size = world_size
        self._solver = ALL_SOLVERS[config.solver]
        self._link = link or SharedLink(config, world_size)
        self._shares: deque[float] = deque([1.0], maxlen=SHARE_STEPS)  # of the link, in the latest steps
        self._curves = SmoothedCurves([layer.numel for layer in layers])
        self._coding = CodingCost(known)
        self._verdict = Verdict(config.objective, config.refresh_steps) if explain else None
        self._in_bucket_order: list[Curve] | None = None  # of the latest reading
        self._buckets: tuple[tuple[Layer, ...], ...] = ()
        self._maker: MenuMaker | None = None
        self._ready_s: deque[Floats] = deque(maxlen=READY_STEPS)
        self._typical_ready_s = np.empty(0)
        self._staleness = Staleness(len(layers), config.max_drop_steps, config.max_owed_factor)
        self._wire_bytes = 0.0  # that each rank sends in the step to come, as planned; 0 before it is
        self._cold_start_bytes, self._unmeasured = config.cold_start_bytes, False
        self._outages, self._in_outage = Outages(), False
        self._probing = Probing(config.objective, config.probe_after_s, frame_copies(world_size, exchange))
        self._unequal = Unequal(config, world_size, exchange, self._link)
        self._place = np.empty(0, np.int64)  # in the model's order, of each layer in bucket order

    def observe(self, seen: Observation) -> None:
        """Take in a finished step. Of a void one its link alone counts.

        The time of an outage is no rate: the first step of one measures no link, the next, if it is one too, does.
        """
        wire_s = seen.everyone.wire_s
        outage = self._outages.seconds(wire_s, self._wire_bytes) > 0
        if seen.samples is not None and (self._in_outage or not outage):
            self.observe_links(self._unequal.observe(seen.samples, seen.everyone))
        self._in_outage = outage
        self._unmeasured = seen.samples is not None and not seen.samples.bytes.all() and wire_s.max() < QUICK_S
        self._probing.observe(float(wire_s.max()), self._wire_bytes)
        self._shares.append(seen.everyone.share)
        if not seen.everyone.void:
            self.observe_step(seen.buckets, seen.everyone)
            if seen.curves is not None:
                self.observe_curves(seen.curves, seen.gradient, seen.own_owed)

    def observe_links(self, samples: LinkSamples) -> None:
        """Take in one sample a rank."""
        self._link.update(samples)

    def observe_curves(self, energy: Floats, gradient: Floats | None = None, own_owed: Floats | None = None) -> None:
        """Take in a reading of the kept energies, (layers, densities), and of the gradients' own, summed over ranks.

        own_owed: what a rank that sends less owes. Staleness is bounded for these ranks by themselves.
        """
        self._curves.update(energy)
        if gradient is not None:
            owed = energy[:, -1]
            most = owed if own_owed is None else np.maximum(owed, self._world_size * own_owed)
            self._staleness.read(most, gradient)
        self._in_bucket_order = None

    def observe_step(self, buckets: tuple[tuple[Layer, ...], ...], everyone: Everyone) -> None:
        """Take in when buckets were ready and what coding took; the slowest rank counts."""
        if buckets != self._buckets:
            self._buckets, self._maker, self._in_bucket_order = buckets, None, None
            self._ready_s.clear()
        self._ready_s.append(everyone.ready_s.max(axis=0))
        self._typical_ready_s = np.array([statistics.median(column) for column in zip(*self._ready_s, strict=True)])
        expected_s, measured_s = everyone.expected_s, everyone.measured_s
        for i, operator in enumerate(OPERATORS):
            slowest = int(measured_s[:, i].argmax())
            self._coding.update(operator, float(expected_s[slowest, i]), float(measured_s[slowest, i]))

    def forecast(self, now_s: float) -> Forecast | None:
        """The forecast of the slowest rank's link, or None until every link has been measured."""
        return self._link.forecast(now_s)

    @property
    def ignored_samples(self) -> int:
        """Samples of the links that could not be true, so far."""
        return self._link.ignored

    def decide(self, current: Plan, now_s: float) -> Decision:
        """The plan of the step after `current`'s. Until link and gradients have been measured: the same plan."""
        step = current.step + 1
        forecast = self.forecast(now_s)
        if forecast is None or not self._curves.ready:
            return Decision(replace(self._larger_start(current, forecast), step=step), {}, None, 0.0)
        began_s = time.perf_counter()
        share, objective = statistics.median(self._shares), self._config.objective
        forecast = forecast.times(share)
        if share == 1:
            objective = self._link.turns.objective(id(self), objective)
        if self._maker is None:
            self._maker = MenuMaker(self._buckets, self._world_size, self._exchange, named=self._named)
            number = {layer.name: i for i, layer in enumerate(self._layers)}
            self._place = np.array([number[layer.name] for layer in self._maker.layers])
        maker, bps = self._maker, forecast.low_bps
        menu = self._menu(maker, bps)
        coarse = self._candidates(menu, self._solver.frontier(menu), bps)
        closer, pair = partial(self._around, menu, coarse), None
        if forecast.age_s > self._config.probe_after_s:
            self._unequal.forget()
        else:
            pair = self._unequal.pick(step, coarse, closer, now_s)
        if pair is not None:
            self._wire_bytes = pair.wire_bytes
            own = self._options(maker, pair.own)
            plan = Plan(step, self._options(maker, pair.common), pair.ranks, own)
            self._planned(menu, maker, plan, [pair.common, pair.own])
            why = pair.why if self._verdict is not None else ""
            return Decision(plan, pair.predicted, None, time.perf_counter() - began_s, why)
        fine = closer(objective.pick(coarse.points()))
        taken = self._complete(menu, coarse, fine, objective.pick(fine.points()), forecast)
        choice = taken.choices[0]
        self._wire_bytes = float(taken.wire_bytes[0])
        plan = Plan(step, self._options(maker, choice))

        why = "" if self._verdict is None else self._words(self._verdict, maker, plan, taken, coarse, fine)
        self._planned(menu, maker, plan, [choice])
        gap = None
        if choice.bound > 0 and np.isfinite(choice.bound):
            gap = (choice.error - choice.bound) / choice.bound
        points = taken.points()
        self._link.turns.tell(id(self), self._config.objective, float(taken.error[0]), float(points.step_s[0]))
        predicted = {
            "step_s": float(points.step_s[0]),
            "compute_s": points.compute_s,
            "link_s": float(taken.link_s.sum()),
            "coding_s": float(taken.coding_s.sum()),
            "error": float(taken.error[0]),
        }
        return Decision(plan, predicted, gap, time.perf_counter() - began_s, why)

    def _larger_start(self, current: Plan, forecast: Forecast | None) -> Plan:
        """Twice as much as before where that was over at once and measured nothing: or no step ever would."""
        most = most_cold_start_bytes(self._layers, self._world_size)
        if forecast is not None or not self._unmeasured or self._cold_start_bytes >= most:
            return current
        self._cold_start_bytes *= 2
        budget_bytes = min(self._cold_start_bytes, most)
        return cold_start_plan(self._layers, budget_bytes, self._world_size, self._exchange, self._named.dense)

    def _planned(self, menu: Menu, maker: MenuMaker, plan: Plan, choices: Sequence[Choice]) -> None:
        """Tell how long layers wait; of two choices the one that leaves more counts, layer by layer."""
        left = np.zeros(len(self._layers))
        left[self._place] = np.max([maker.left(menu, c.column, c.whole) for c in choices], axis=0)
        sent = [plan.options, *([plan.own] if plan.own_ranks else [])]
        dropped = [[option.operator == "drop" for option in options.values()] for options in sent]
        self._staleness.planned(np.any(dropped, axis=0), left)

    def dense_above_bps(self, near_bps: float) -> float | None:
        """Link rate in bit/s above which the next plan would leave nothing out; None if there is none, or none yet.

        near_bps: a rate to begin at.
        """
        if self._maker is None or not self._curves.ready:
            return None
        again = partial(self._frontier, self._maker)
        return flip_bps(self._config.objective, again(near_bps), again)

    def _words(
        self, verdict: Verdict, maker: MenuMaker, plan: Plan, taken: Candidates, coarse: Candidates, fine: Candidates
    ) -> str:
        kind_of = kind(plan.options, maker.layers)
        again = partial(self._frontier, maker)
        return verdict.words(plan.step, kind_of, taken, lambda: coarse.with_those(fine), again)

    def _frontier(self, maker: MenuMaker, bps: float) -> Candidates:
        menu = self._menu(maker, bps)
        return self._candidates(menu, self._solver.frontier(menu), bps)

    def _menu(self, maker: MenuMaker, bps: float) -> Menu:
        if self._in_bucket_order is None:
            by_name = dict(zip((layer.name for layer in self._layers), self._curves.curves(), strict=True))
            self._in_bucket_order = [by_name[layer.name] for layer in maker.layers]
        overdue, least_share = self._staleness.overdue[self._place], self._staleness.least_share[self._place]
        curves, ready_s = self._in_bucket_order, self._typical_ready_s
        return maker.make(bps, self._coding, curves, overdue.tolist(), least_share, ready_s)

    def _candidates(self, menu: Menu, choices: Sequence[Choice], bps: float) -> Candidates:
        return Candidates.of(menu, choices, self._typical_ready_s, bps)

    def _around(self, menu: Menu, coarse: Candidates, i: int) -> Candidates:
        """One of these choices, and what there is between its neighbours."""
        frontier = coarse.choices
        finer = self._solver.between(menu, frontier[max(0, i - 1)], frontier[min(len(frontier) - 1, i + 1)])
        return self._candidates(menu, [frontier[i], *finer], coarse.bps)

    def _complete(self, menu: Menu, coarse: Candidates, fine: Candidates, i: int, forecast: Forecast) -> Candidates:
        """The choice of this step: what was picked, with time that may be used up, or a probe of the link."""
        choice, points = fine.choices[i], fine.points()
        target_s = self._config.objective.target_s(points.compute_s)
        if target_s is not None and target_s > points.step_s[i]:
            choice = self._solver.spend(menu, choice, target_s)
        picked = self._candidates(menu, [choice], forecast.low_bps)
        return self._probing.choose(menu, self._solver, coarse, picked, forecast)

    def _options(self, maker: MenuMaker, choice: Choice) -> dict[str, Option]:
        """Options by layer name, in the model's order; a layer that no bucket carries is nobody's business."""
        options = dict.fromkeys((layer.name for layer in self._layers), FLOAT32)
        in_bucket = np.searchsorted(maker.starts, np.arange(len(maker.layers)), side="right") - 1
        for i, layer in enumerate(maker.layers):
            if layer.plain:
                continue
            way = int(choice.whole[in_bucket[i]])
            option = WHOLE[way] if way >= 0 else maker.options[i][int(choice.column[i])]
            k = int(choice.k[i])
            options[layer.name] = replace(option, k=k) if option.k and option.k != k else option
        return options

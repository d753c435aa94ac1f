"""How gradients are sent: the runtime's own decisions, fixed plans, plain DDP, and PowerSGD by its sizes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from kimad.compressors import Option
from kimad.config import SOLVERS, Config
from kimad.cost import start_s
from kimad.decide import Decision, Planner, curves_due, first_plan
from kimad.errors import ConfigError
from kimad.forecast import Forecast
from kimad.layout import Layer, Slot, pack
from kimad.naming import parse_objective
from kimad.objective import Off
from kimad.observation import Observation
from kimad.plan import BFLOAT16, FLOAT32, Plan, all_reduce_bytes, frame_copies
from kimad.sim.errors import SimulationError
from kimad.sim.gradients import modelled
from kimad.sim.step import Load
from kimad.statistics import OPERATORS
from kimad.timeline import ENCODE_SHARE

POWERSGD_ENTRY_S = 1.6e-9  # s an entry: reading the gradient, error feedback; fitted to torch's hook on a ResNet-18
POWERSGD_FLOPS = 4e9  # 1/s on one core, the same
FORMS = f"ddp, bf16, topk:DENSITY, powersgd:RANK, or any objective; with @ and its solver: {', '.join(SOLVERS)}"


@final
@dataclass(frozen=True)
class Site:
    """Where a strategy works: what its loads depend on beside its plan."""

    buckets: tuple[tuple[Layer, ...], ...]
    world_size: int
    exchange: str  # one of plan.EXCHANGES
    latency_s: float  # one way
    coding: dict[str, float]  # operator -> measured / expected seconds
    measured_ranks: int  # ranks whose frames were decoded when `coding` was measured
    overhead_s: dict[str, float] = field(default_factory=dict)  # of workload.OVERHEADS, a step

    def coding_s(self, option: Option, numel: int) -> float:
        """Seconds of encoding and decoding one layer."""
        expected_s = start_s(option, numel) * self.coding.get(option.operator, 1.0)
        return expected_s * (ENCODE_SHARE + self._decode_share)

    def coding_factor(self, operator: str) -> float:
        """The same over the seconds that are expected before anything is measured."""
        return self.coding.get(operator, 1.0) * (ENCODE_SHARE + self._decode_share)

    @property
    def _decode_share(self) -> float:
        """Decoding grows with the frames: N of them, or N pieces of a shard and then the N shards, which is two."""
        frames = 2 if self.exchange == "sharded" else self.world_size
        return (1 - ENCODE_SHARE) * frames / self.measured_ranks

    @property
    def rounds(self) -> int:
        """Messages after one another in an exchange of frames. gloo has each asked for first, which doubles them."""
        return 2 * {"all-gather": 1, "ring": self.world_size - 1, "sharded": 2}[self.exchange]

    def all_reduce(self, size: int, coding_s: float = 0.0) -> Load:
        """A ring all-reduce: 2(N-1) messages after one another."""
        latency_s = 4 * (self.world_size - 1) * self.latency_s
        sent = all_reduce_bytes(size, self.world_size)
        return Load(sent, 0, ENCODE_SHARE * coding_s, (1 - ENCODE_SHARE) * coding_s, latency_s)

    def frames(self, size: int, coding_s: float) -> Load:
        """Everybody's frames, of `size` bytes a worker, to everybody."""
        copies = frame_copies(self.world_size, self.exchange)
        encode_s = coding_s * ENCODE_SHARE / (ENCODE_SHARE + self._decode_share)
        return Load(copies * size, copies, encode_s, coding_s - encode_s, self.rounds * self.latency_s)

    def loads(self, plan: Plan, slots: Sequence[Sequence[Slot]]) -> list[Load]:
        """What a plan asks of processors and links, bucket by bucket."""
        return [self._load(plan, bucket) for bucket in slots]

    def _load(self, plan: Plan, slots: Sequence[Slot]) -> Load:
        mode, numel = plan.mode(slots), sum(slot.layer.numel for slot in slots)
        if mode == "float32":
            return self.all_reduce(sum(slot.layer.nbytes for slot in slots))
        if mode == "bfloat16":
            return self.all_reduce(2 * numel, start_s(BFLOAT16, numel) * self.coding.get("bfloat16", 1.0))
        coding_s = sum(self.coding_s(plan.options[s.layer.name], s.layer.numel) for s in slots if not s.layer.plain)
        load = self.frames(plan.frame_bytes(slots), coding_s)
        if not plan.own_ranks:
            return load
        each = np.array([plan.frame_bytes(slots, rank) for rank in range(self.world_size)], np.float64)
        return replace(load, wire_bytes=load.copies * float(each.mean()), frame_bytes=each)


class Strategy(ABC):
    """Decides on the loads of each step."""

    plan: Plan | None = None  # None where what is sent is no plan of ours
    predicted_s: float | None = None  # step time that was predicted for the step to come
    reads_curves: bool = False  # whether the step to come reads the error curves
    end_s: float = 0.0  # of the processor, for the end of a step: statistics, agreement, decision, record

    @abstractmethod
    def loads(self) -> list[Load]:
        """Of the step to come."""


@final
class Fixed(Strategy):
    """The same plan in every step: one option for every layer, or plain DDP, which has no hook."""

    def __init__(self, site: Site, plan: Plan, *, hooked: bool = True) -> None:
        self.plan = plan if modelled(plan) else None
        self.end_s = site.overhead_s.get("fixed", 0.0) if hooked else 0.0
        self._loads = site.loads(plan, [pack(bucket) for bucket in site.buckets])

    def loads(self) -> list[Load]:
        return self._loads


@final
class Adaptive(Strategy):
    """The runtime's planner, told of every step and asked for the next one as the runtime does it.

    costs_known: whether it begins with what coding costs, instead of learning it by and by.
    """

    def __init__(self, site: Site, config: Config, layers: Sequence[Layer], *, costs_known: bool = False) -> None:
        self._site = site
        self._config = config
        self._slots = [pack(bucket) for bucket in site.buckets]
        known = {operator: site.coding_factor(operator) for operator in OPERATORS} if costs_known else None
        self._planner = Planner(config, layers, site.world_size, site.exchange, explain=False, known=known)
        self.plan: Plan = first_plan(config, layers, site.world_size, site.exchange)
        self.decision = Decision(self.plan, {}, None, 0.0)
        self.reads_curves = curves_due(config, 0)
        self.end_s = site.overhead_s.get("adaptive", 0.0)

    def loads(self) -> list[Load]:
        loads = self._site.loads(self.plan, self._slots)
        return self._with_reading(loads) if self.reads_curves else loads

    def _with_reading(self, loads: Sequence[Load]) -> list[Load]:
        """The error curves are read while encoding, each layer by its size."""
        sizes = [sum(slot.layer.nbytes for slot in bucket) for bucket in self._slots]
        entry_s = self._site.overhead_s.get("reading", 0.0) / sum(sizes)
        return [replace(a, encode_s=a.encode_s + entry_s * size) for a, size in zip(loads, sizes, strict=True)]

    def observe(self, seen: Observation) -> None:
        """A step is done."""
        self._planner.observe(seen)
        self.decision = self._planner.decide(self.plan, seen.end_s)
        self.plan = self.decision.plan
        self.predicted_s = self.decision.predicted.get("step_s")
        self.reads_curves = curves_due(self._config, self.plan.step, seen)

    def forecast(self, now_s: float) -> Forecast | None:
        """Of the slowest worker's link, as the planner has it."""
        return self._planner.forecast(now_s)

    def dense_above_bps(self, near_bps: float) -> float | None:
        """Link rate in bit/s above which it would choose plain DDP, as the planner has it."""
        return self._planner.dense_above_bps(near_bps)

    def expected_s(self) -> tuple[list[float], list[float]]:
        """Seconds of coding with each operator in this step, as expected and as a clock has them in a run.

        Beside computing, which goes on until the last bucket, everything takes twice as long (`step`).
        """
        expected = dict.fromkeys(OPERATORS, 0.0)
        measured = dict.fromkeys(OPERATORS, 0.0)
        for b, slots in enumerate(self._slots):
            mode = self.plan.mode(slots)
            beside = 2.0 if b < len(self._slots) - 1 else 1.0
            for slot in slots if mode != "float32" else ():
                option = self.plan.options[slot.layer.name]
                if not slot.layer.plain:
                    expected[option.operator] += start_s(option, slot.layer.numel)
                    measured[option.operator] += beside * self._site.coding_s(option, slot.layer.numel)
        return list(expected.values()), list(measured.values())


@final
class PowerSGD(Strategy):
    """Rank-r PowerSGD (arXiv 1905.13727): two all-reduces a bucket, of P (m x r) and Q (n x r), vectors whole.

    Time: 6 m n r / POWERSGD_FLOPS + m n POWERSGD_ENTRY_S a matrix. What arrives of the gradient is not simulated.
    """

    def __init__(self, site: Site, rank: int) -> None:
        self._loads: list[Load] = []
        for bucket in site.buckets:
            whole = p_bytes = q_bytes = 0
            coding_s = 0.0
            for layer in bucket:
                m, n = layer.shape[0] if layer.shape else 1, layer.numel // max(1, layer.shape[0] if layer.shape else 1)
                r = min(rank, m, n)
                if len(layer.shape) < 2 or (m + n) * r >= layer.numel:
                    whole += layer.nbytes
                    continue
                p_bytes, q_bytes = p_bytes + 4 * m * r, q_bytes + 4 * n * r
                coding_s += 6 * m * n * r / POWERSGD_FLOPS + m * n * POWERSGD_ENTRY_S
            # As one load: the second all-reduce follows the first at once, and its latency is added.
            load = site.all_reduce(whole + p_bytes + q_bytes, coding_s)
            latency_s = load.latency_s * (2 if p_bytes else 1)
            self._loads.append(Load(load.wire_bytes, 0, load.encode_s, load.decode_s, latency_s))

    def loads(self) -> list[Load]:
        return self._loads


def make_strategy(text: str, site: Site, layers: Sequence[Layer]) -> Strategy:
    """The strategy of a name such as `ddp`, `topk:0.01`, `powersgd:4`, `step-time:0.5@uniform`.

    Raises SimulationError for a name that is not known.
    """
    name, _, solver = text.strip().partition("@")
    if name.startswith("powersgd"):
        rank = name.partition(":")[2]
        if solver or not rank.isdecimal() or not 0 < int(rank) < 1 << 16:
            raise SimulationError(f"strategy {text!r}: write powersgd:RANK with RANK a whole number above 0")
        return PowerSGD(site, int(rank))
    try:
        objective = parse_objective(f"fixed:{name}" if name.partition(":")[0] in OPERATORS else name)
    except ConfigError as error:
        raise SimulationError(f"strategy {text!r} is not known ({error}); allowed: {FORMS}") from None
    if solver and (solver not in SOLVERS or not objective.adaptive):
        raise SimulationError(
            f"strategy {text!r}: a solver is one of {', '.join(SOLVERS)}, for an objective that decides"
        )
    if isinstance(objective, Off):
        return Fixed(site, Plan(0, {layer.name: FLOAT32 for layer in layers}), hooked=False)
    config = Config(objective=objective, solver=solver or Config.solver)
    if not objective.adaptive:
        return Fixed(site, first_plan(config, layers, site.world_size, site.exchange))
    return Adaptive(site, config, layers)


def default_strategies(compute_s: float) -> list[str]:
    """What is worth comparing: baselines and every objective; one with a time gets half as much again as computing."""
    time_s = f"step-time:{_two_digits(1.5 * compute_s)}"
    baselines = ["ddp", "bf16", "topk:0.01", "powersgd:4"]
    return [*baselines, "kimad", time_s, f"{time_s}@uniform", "overlap:0.1", "error-bound:0.1"]


def _two_digits(value: float) -> str:
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):g}"

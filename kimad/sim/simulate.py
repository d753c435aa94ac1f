"""A whole run: step after step of all workers, with the strategy told what the runtime would have been told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.layout import Layer
from kimad.observation import Observation
from kimad.plan import EXCHANGES, MANY
from kimad.sim.errors import SimulationError
from kimad.sim.gradients import OwedByAll
from kimad.sim.links import Links
from kimad.sim.step import StepTimes, run_step
from kimad.sim.strategy import Adaptive, Site, Strategy, default_strategies, make_strategy
from kimad.sim.workload import Workload
from kimad.statistics import Everyone, Statistics
from kimad.trace import HostLink

Floats = NDArray[np.float64]

HEADER_SHARE = 1514 / 1448  # bits on an Ethernet link for each bit of a TCP message: headers, MTU 1500
MAX_WORKERS = 100_000  # 3 GiB, where each has a link of its own


@final
@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Raises SimulationError for a value that is not allowed.
    """

    workload: Workload
    links: Sequence[HostLink]  # of each worker
    steps: int = 200
    latency_s: float = 0.0  # s, one way, between any two workers
    exchange: str = "auto"  # of frames: "all-gather" (the runtime's), "ring", "sharded"; auto: by the number of workers
    straggler_share: float = 0.0  # probability that a worker's step is slow
    straggler_factor: float = 1.0  # by which its computing then takes longer
    header_share: float = HEADER_SHARE  # bits on the link for each bit of a message
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= len(self.links) <= MAX_WORKERS:
            raise SimulationError(f"workers: {len(self.links)}; allowed: 2 to {MAX_WORKERS}")
        if self.steps < 1:
            raise SimulationError(f"steps is {self.steps}; it must be 1 or more")
        if self.exchange not in ("auto", *EXCHANGES):
            raise SimulationError(f"exchange is {self.exchange!r}; allowed: auto, {', '.join(EXCHANGES)}")
        for name, low, high in (
            ("latency_s", 0.0, 60.0), ("straggler_share", 0.0, 1.0), ("straggler_factor", 1.0, 1e6),
            ("header_share", 1.0, 10.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise SimulationError(f"{name} is {value!r}; it must be from {low:g} to {high:g}")

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self.links)

    @property
    def used_exchange(self) -> str:
        """The exchange of frames, with auto resolved."""
        if self.exchange == "auto":
            return "all-gather" if self.workers <= MANY else "sharded"
        return self.exchange

    @property
    def compute_s(self) -> float:
        """Mean seconds of computing a step."""
        return float(self.workload.ready_s[:, :, -1].mean())

    @property
    def site(self) -> Site:
        """What a strategy needs to know."""
        workload = self.workload
        buckets = tuple(tuple(workload.layers[i] for i in bucket) for bucket in workload.buckets)
        ranks = max(2, workload.ready_s.shape[1])
        return Site(
            buckets, self.workers, self.used_exchange, self.latency_s, dict(workload.coding), ranks,
            dict(workload.overhead_s),
        )  # fmt: skip

    @property
    def strategies(self) -> list[str]:
        """Strategies that are worth comparing here."""
        return default_strategies(self.compute_s)


@final
@dataclass(frozen=True)
class Result:
    """What a strategy came to. Arrays have one number a step."""

    strategy: str
    step_s: Floats
    compute_s: Floats  # of the slowest worker
    wire_bytes: Floats  # sent by each worker, in the mean
    kept: Floats  # share of the owed energy that was sent, 0..1; NaN where it is not known
    predicted_s: Floats  # NaN where nothing was predicted

    def figures(self) -> dict[str, float | None]:
        """Means and extremes; None where something is not known."""
        predicted = np.isfinite(self.predicted_s)
        known = bool(np.isfinite(self.kept).all())
        over = np.maximum(0.0, self.step_s[predicted] / self.predicted_s[predicted] - 1)
        return {
            "mean_step_s": float(self.step_s.mean()),
            "p95_step_s": float(np.quantile(self.step_s, 0.95)),
            "max_step_s": float(self.step_s.max()),
            "wire_bytes": float(self.wire_bytes.mean()),
            "wait_s": float((self.step_s - self.compute_s).mean()),
            "overshoot": float(over.mean()) if predicted.any() else None,
            "kept": float(self.kept.mean()) if known else None,
            "progress_per_s": float(np.sqrt(self.kept).mean() / self.step_s.mean()) if known else None,
            "total_s": float(self.step_s.sum()),
        }


def simulate(scenario: Scenario, strategy: str) -> Result:
    """Run one strategy. Same scenario, same result, to the last bit.

    Raises SimulationError for a strategy that is not known, or a link that carries nothing.
    """
    return follow(scenario, strategy, make_strategy(strategy, scenario.site, scenario.workload.layers))


def follow(scenario: Scenario, name: str, chosen: Strategy) -> Result:
    """Run a strategy that was made for `scenario.site`, and that may be asked more afterwards."""
    workload, buckets = scenario.workload, scenario.site.buckets
    computing = _Computing(scenario)
    owed = OwedByAll(workload, np.random.default_rng([scenario.seed, 2]), scenario.workers)
    links = Links(scenario.links)
    start_s = np.zeros(scenario.workers)
    rows: list[tuple[float, float, float, float, float]] = []
    for step in range(scenario.steps):
        loads = chosen.loads()
        computing_s = computing.next_step() + (chosen.end_s if step else 0.0)  # the end of the step before takes it
        times = run_step(start_s, computing_s, loads, links, scenario.header_share)
        owed.next_step(chosen.plan.own_ranks if chosen.plan is not None else ())
        reading = owed.read() if chosen.reads_curves else None
        predicted_s = chosen.predicted_s if chosen.predicted_s is not None else np.nan
        kept = owed.send(chosen.plan) if chosen.plan is not None else np.nan
        step_s = float(times.end_s.max() - start_s.max())
        computed_s = float(times.ready_s[:, -1].max())
        rows.append((step_s, computed_s, sum(load.wire_bytes for load in loads), kept, predicted_s))
        if isinstance(chosen, Adaptive):
            chosen.observe(observation(step, buckets, times, chosen, reading, len(workload.layers)))
        start_s = times.end_s
    return Result(name, *np.array(rows).T)


@final
class _Computing:
    """Draws how long computing takes: the recorded steps in random order, each worker as one of the recorded ranks."""

    def __init__(self, scenario: Scenario) -> None:
        self._ready_s = scenario.workload.ready_s
        self._workers = scenario.workers
        self._share, self._factor = scenario.straggler_share, scenario.straggler_factor
        self._random = np.random.default_rng([scenario.seed, 1])

    def next_step(self) -> Floats:
        """(W, B) seconds from a step's start until each bucket is ready."""
        steps, ranks, _ = self._ready_s.shape
        if ranks == self._workers:  # what was measured together stays together
            drawn = self._ready_s[self._random.integers(steps)]
        else:
            drawn = self._ready_s[
                self._random.integers(steps, size=self._workers), self._random.integers(ranks, size=self._workers)
            ]
        if self._share > 0:
            slow = self._random.random(self._workers) < self._share
            drawn = drawn * np.where(slow, self._factor, 1.0)[:, None]
        computing_s: Floats = drawn
        return computing_s


def observation(
    step: int, buckets: tuple[tuple[Layer, ...], ...], times: StepTimes, chosen: Adaptive,
    reading: tuple[Floats, Floats] | tuple[Floats, Floats, Floats | None] | None, layers: int,
) -> Observation:  # fmt: skip
    """What the runtime would have seen of a step; the workers' clocks agree. reading: means over workers."""
    workers = len(times.end_s)
    end_s = float(times.end_s[0])
    expected_s, measured_s = chosen.expected_s()
    own = Statistics(
        nonfinite=False, residual_square=0.0, received=(0, 0.0), collective=(0, 0.0), ready_s=times.ready_s[0],
        encode_s=0.0, wire_s=times.wire_s, decode_s=0.0, step_s=0.0, expected_s=np.array(expected_s),
        measured_s=np.array(measured_s), unused=np.zeros(layers, bool),
        peers=np.empty(0) if times.peers is None else np.zeros(1 + workers),
    )  # fmt: skip
    table = np.repeat(own.pack()[None], workers, axis=0)
    everyone = Everyone(table, len(buckets), layers)
    everyone.received[:] = times.received
    everyone.collective[:] = times.collective
    everyone.ready_s[:] = times.ready_s
    if everyone.peers is not None and times.peers is not None:
        everyone.peers[:] = times.peers
    energy, gradient = (part * workers for part in reading[:2]) if reading is not None else (None, None)
    own_owed = reading[2] if reading is not None and len(reading) > 2 else None
    return Observation.of(step, end_s, buckets, everyone, energy, gradient, own_owed)

"""Real training on a virtual clock: gradients, residuals, frames and decisions are real, links and seconds simulated.

All workers train in this process, one after the other; the simulator's step says when each would have been done. What
is sent in a fixed way does not depend on the clock, so that one training of it serves all networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tasks import TASKS, Task
from kimad.coder import Bucket, Coder, Sending
from kimad.config import Config
from kimad.curves import DENSITIES
from kimad.error_feedback import make_error_feedback
from kimad.layout import Layer, Slot, pack
from kimad.momentum import TakenMomentum
from kimad.naming import parse_objective
from kimad.objective import Fixed
from kimad.plan import Plan, fixed_plan
from kimad.sim.links import Links
from kimad.sim.simulate import observation
from kimad.sim.step import Load, StepTimes, run_step
from kimad.sim.strategy import Adaptive, Site
from kimad.statistics import StepLog
from kimad.trace import HostLink, parse_link, parse_links

Floats = NDArray[np.float64]

WORKERS = 2  # frames and dense all-reduces then send the same copies, so that rho is plain
BUCKETS = 5
FORWARD_SHARE = 1 / 3  # of the computing of a step
COMPUTE_S = 0.2  # s, virtual, of a step
EVERY = 5  # steps between two looks at the held-out loss
FAIR = 8  # times the uncompressed run's steps after which a run has failed


@final
@dataclass(frozen=True)
class Network:
    """A link and its place in time."""

    link: str  # of mean 1, as a spec
    rho: float  # seconds that the dense gradient needs at the mean rate / seconds of computing
    overlap: bool = False  # whether buckets become ready during backward, or all at its end
    start_s: float = 0.0  # s, where in the link's time the run begins
    workers: int = WORKERS
    slow_uplink: float = 1.0  # times by which the last worker's uplink is slower than all other links

    def spec(self, dense_bytes: int) -> str:
        """The link for a model of this size."""
        mean_mbps = 8e-6 * dense_bytes / (self.rho * COMPUTE_S)
        return f"scale:{mean_mbps / parse_link(self.link).mean_mbps(0.0, 3600.0):.9g},{self.link}"

    def links(self, dense_bytes: int) -> list[HostLink]:
        """Of each worker."""
        fast = self.spec(dense_bytes)
        last = fast if self.slow_uplink == 1 else f"scale:{1 / self.slow_uplink:g},{fast}/{fast}"
        return parse_links([*[fast] * (self.workers - 1), last], self.workers)


@final
class Workers:
    """One model, and as many residuals and streams of batches as there are workers."""

    def __init__(self, task: Task, seed: int, workers: int = WORKERS, error_feedback: str = "ef14") -> None:
        torch.manual_seed(seed)
        self.model = task.make()
        self._task = task
        self._optimizer = task.optimizer(self.model)
        self._batches = [task.batches(1000 * seed + worker) for worker in range(workers)]
        self._held_out = task.held_out()
        parameters = dict(self.model.named_parameters())
        self.layers = [Layer(name, tuple(p.shape)) for name, p in parameters.items()]
        self.buckets = _in_buckets(self.layers)
        self.slots = [pack(bucket) for bucket in self.buckets]
        self._parameters = [[parameters[layer.name] for layer in bucket] for bucket in self.buckets]
        takes = error_feedback == "dgc"
        momentum = TakenMomentum(self._optimizer, list(parameters.values())).momentum if takes else 0.0
        self._feedbacks = [make_error_feedback(error_feedback, momentum) for _ in range(workers)]
        self._coders = [Coder(feedback, workers, i) for i, feedback in enumerate(self._feedbacks)]
        self._step = 0

    @property
    def count(self) -> int:
        """How many."""
        return len(self._coders)

    @property
    def dense_bytes(self) -> int:
        """Of the gradient."""
        return sum(layer.nbytes for layer in self.layers)

    def train(self, plan: Plan, read_curves: bool) -> tuple[Floats, Floats] | None:
        """One step of all; what was read: (layers, densities) and (layers,), means over workers."""
        buffers = [self._gradient(worker) for worker in range(len(self._coders))]
        logs = [StepLog(0.0) for _ in self._coders]
        for b, slots in enumerate(self.slots):
            items = [Bucket(self._step, b, buffer[b], slots) for buffer in buffers]
            sent = [c.encode(i, plan, log, read_curves)
                    for c, i, log in zip(self._coders, items, logs, strict=True)]  # fmt: skip
            self._average(sent, logs[0])
            for slot, parameter in zip(slots, self._parameters[b], strict=True):
                parameter.grad = buffers[0][b][slot.start : slot.stop].view_as(parameter)
        self._optimizer.step()
        for feedback in self._feedbacks:
            feedback.end_step(set())
        self._step += 1
        if not read_curves:
            return None
        nothing = np.zeros(len(DENSITIES))
        names = [layer.name for layer in self.layers]
        owed = np.array([[log.energy.get(name, nothing) for name in names] for log in logs])
        own = np.array([[log.gradient_square.get(name, 0.0) for name in names] for log in logs])
        return owed.mean(axis=0), own.mean(axis=0)

    def _gradient(self, worker: int) -> list[Tensor]:
        """A flat buffer for each bucket."""
        self.model.zero_grad(set_to_none=True)
        self._task.loss(self.model, *next(self._batches[worker])).backward()  # type: ignore[no-untyped-call]
        return [torch.cat([p.grad.flatten() for p in own if p.grad is not None]) for own in self._parameters]

    def _average(self, sent: Sequence[Sending], log: StepLog) -> None:
        """What the exchange does, with the first worker's buffer as everybody's."""
        frames = [s.payload for s in sent]
        if sent[0].mode != "frames":
            for payload in frames[1:]:
                frames[0].add_(payload)
            frames = []
        self._coders[0].decode(sent[0], frames, log)

    def held_out_loss(self) -> float:
        """On data that nobody trains on."""
        self.model.eval()
        with torch.no_grad():
            loss = float(self._task.loss(self.model, *self._held_out))
        self.model.train()
        return loss


def _in_buckets(layers: Sequence[Layer]) -> tuple[tuple[Layer, ...], ...]:
    """About equal ones, last layers first, as backward has them."""
    share = sum(layer.numel for layer in layers) / BUCKETS
    buckets: list[list[Layer]] = [[]]
    filled = 0
    for layer in reversed(layers):
        if filled >= share * len(buckets) and buckets[-1]:
            buckets.append([])
        buckets[-1].append(layer)
        filled += layer.numel
    return tuple(map(tuple, buckets))


@final
class Clock:
    """Says when each step of a run on a network ends."""

    def __init__(self, network: Network, slots: Sequence[Sequence[Slot]]) -> None:
        numels = np.array([sum(slot.layer.numel for slot in bucket) for bucket in slots], np.float64)
        done = np.cumsum(numels) / numels.sum()
        ready = FORWARD_SHARE + (1 - FORWARD_SHARE) * done if network.overlap else np.ones(len(slots))
        self._computing_s = np.tile(COMPUTE_S * ready, (network.workers, 1))
        self._links = Links(network.links(int(4 * numels.sum())))
        self._began_s = network.start_s
        self._start_s = np.full(network.workers, network.start_s)

    @property
    def now_s(self) -> float:
        """Since the run began."""
        return float(self._start_s.max()) - self._began_s

    def step(self, loads: Sequence[Load]) -> StepTimes:
        """How a step with these loads goes."""
        times = run_step(self._start_s, self._computing_s, loads, self._links, 1.0)
        self._start_s = times.end_s
        return times


def site_of(workers: Workers) -> Site:
    """Where they work."""
    return Site(workers.buckets, workers.count, "all-gather", 0.0, {}, workers.count)


def fixed_losses(
    task: str, seed: int, option: str, steps: int, enough: float = -np.inf, count: int = WORKERS, *,
    error_feedback: str = "ef14",
) -> list[float]:  # fmt: skip
    """Held-out losses after every EVERY steps of a fixed way to send, until one is `enough`."""
    workers = Workers(TASKS[task], seed, count, error_feedback)
    plan = _plan_of(option, workers.layers)
    losses: list[float] = []
    for step in range(1, steps + 1):
        workers.train(plan, read_curves=False)
        if step % EVERY == 0:
            losses.append(workers.held_out_loss())
            if smoothed(losses) <= enough or not np.isfinite(losses[-1]):
                break
    return losses


def _plan_of(option: str, layers: Sequence[Layer]) -> Plan:
    objective = parse_objective(f"fixed:{option}")
    if not isinstance(objective, Fixed):
        raise ValueError(f"option {option!r} is not a fixed one")
    return fixed_plan(layers, objective)


def smoothed(losses: Sequence[float]) -> float:
    """The mean of the last three: one lucky look does not count."""
    return float(np.mean(losses[-3:])) if len(losses) >= 3 else float("inf")


def steps_to(losses: Sequence[float], target: float) -> int | None:
    """Steps until a target is reached, or None."""
    for i in range(3, len(losses) + 1):
        if smoothed(losses[:i]) <= target:
            return i * EVERY
    return None


def fixed_seconds(
    task: str, option: str, losses: Sequence[float], targets: Sequence[float], network: Network
) -> list[float]:
    """Virtual seconds until each target, infinity where it is not reached."""
    wanted = [steps_to(losses, target) for target in targets]
    workers = _sizes(task)
    clock = Clock(network, workers.slots)
    loads = site_of(workers).loads(_plan_of(option, workers.layers), workers.slots)
    ends: list[float] = []
    for _ in range(max((steps for steps in wanted if steps is not None), default=0)):
        clock.step(loads)
        ends.append(clock.now_s)
    return [np.inf if steps is None else ends[steps - 1] for steps in wanted]


@cache
def _sizes(task: str) -> Workers:
    return Workers(TASKS[task], 0)


def adaptive_seconds(
    task: str, seed: int, config: Config, targets: Sequence[float], network: Network,
    watch: Callable[[Plan], None] | None = None, change: Callable[[Adaptive], Adaptive] | None = None,
) -> list[float]:  # fmt: skip
    """The same for the runtime's planner, which sees of the network what it would see of a real one.

    watch: is shown the plan of each step. change: what is to be different about the planner.
    """
    workers = Workers(TASKS[task], seed, network.workers)
    clock = Clock(network, workers.slots)
    chosen = Adaptive(site_of(workers), config, workers.layers)
    if change is not None:
        chosen = change(chosen)
    losses: list[float] = []
    found = [float("inf")] * len(targets)
    for step in range(1, FAIR * TASKS[task].steps + 1):
        times = clock.step(chosen.loads())
        reading = workers.train(chosen.plan, chosen.reads_curves)
        if watch is not None:
            watch(chosen.plan)
        chosen.observe(observation(step - 1, workers.buckets, times, chosen, reading, len(workers.layers)))
        if step % EVERY == 0:
            losses.append(workers.held_out_loss())
            for i, target in enumerate(targets):
                if not np.isfinite(found[i]) and smoothed(losses) <= target:
                    found[i] = clock.now_s
            if all(np.isfinite(found)) or not np.isfinite(losses[-1]):
                break
    return found


def call_alone(job: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    """Call a function with its arguments, in a process of a pool: with one thread, as the other cores have jobs too."""
    torch.set_num_threads(1)
    function, arguments = job
    return function(*arguments)

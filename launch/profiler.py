"""Measures one model's step in its own script: when buckets are ready, what gradients look like, what coding costs.

Every bucket is averaged at the end of backward, after the last one is ready: so the times are those of computing alone,
with all ranks at work at once, and training goes on as it would.
"""

# No `from __future__ import annotations`: DDP compares the hook's annotations with the real classes.

import statistics
import time
import weakref
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from kimad.coder import Bucket
from kimad.curves import sample_stride
from kimad.internals import GradBucket, after_backward, hook_name
from kimad.launch import forward
from kimad.launch import trial as coding
from kimad.launch.step_end import FIRST_STEPS, KINDS, STEPS, StepEnd
from kimad.layout import Slot, pack
from kimad.model import layers_of
from kimad.sim.workload import OVERHEADS, Workload

SETTLING_STEPS = 3  # DDP builds its buckets anew after the first step, with static_graph after the second
SAMPLES = 1024  # of each layer's gradient
SNAPSHOTS = 8  # steps whose gradients are kept
CODING_STEPS = len(coding.OPTIONS) * coding.STEPS
ENDED_STEPS = len(KINDS) * (FIRST_STEPS + STEPS)
ALL_STEPS = SETTLING_STEPS + CODING_STEPS + ENDED_STEPS  # and those that are measured


@final
class Profiler:
    """Watches a DDP model for `steps` steps, writes the workload, and ends the script at its next forward."""

    def __init__(self, model: DistributedDataParallel, steps: int, out: Path) -> None:
        self._model = weakref.ref(model)  # which holds this profiler
        self._group = model.process_group
        self._ranks = self._group.size()
        self._steps = steps
        self._out = out
        named = layers_of(model)
        self._layers = [layer for _, layer in named]
        self._by_parameter = {id(parameter): layer for parameter, layer in named}
        self._slots: list[tuple[Slot, ...]] = []  # of this step's buckets so far
        self._waiting: list[tuple[Tensor, torch.futures.Future[Tensor]]] = []  # the same buckets, ready
        self._ready_s: list[list[float]] = []  # of each measured step's buckets
        self._snapshots: list[dict[str, NDArray[np.float32]]] = []  # this rank's gradient, by layer
        self._step = 0
        self._began_s = time.monotonic()
        self._began_cpu_s = time.thread_time()
        self._crowding: list[float] = []  # seconds of a step's computing / those of the processor behind them
        self._trial: coding.Trial | None = None
        self._factors: list[float] = []  # one for each of coding.OPTIONS
        self._step_end: StepEnd | None = None
        self._ends_s: list[tuple[float, float]] = []  # one for each of KINDS: a step's end, reading the curves
        model.register_comm_hook(self, profile_hook)
        forward.before_each_training_step(model, self._before_forward)

    def take(self, bucket: GradBucket, ready_s: float, done: torch.futures.Future[Tensor]) -> None:
        """One bucket is ready; all are averaged when the last one is."""
        measured = self._step >= SETTLING_STEPS
        if not self._waiting:
            self._slots = []
            if measured:
                self._ready_s.append([])
        slots = pack(self._by_parameter[id(p)] for p in bucket.parameters())
        self._slots.append(slots)
        self._waiting.append((bucket.buffer(), done))
        if measured:
            self._ready_s[-1].append(ready_s - self._began_s)
        if bucket.is_last():
            if measured:
                self._crowding.append(self._ready_s[-1][-1] / (time.thread_time() - self._began_cpu_s))
            self._average(measured)

    def _average(self, measured: bool) -> None:
        buffers = enumerate(zip(self._waiting, self._slots, strict=True))
        buckets = [Bucket(self._step, b, buffer, slots) for b, ((buffer, _), slots) in buffers]
        if self._trial is not None:
            self._trial.code(buckets)
        if self._step_end is not None:
            self._step_end.run(buckets)
        if measured and len(self._snapshots) < min(SNAPSHOTS, self._steps):
            self._keep_snapshot()
        for buffer, done in self._waiting:
            buffer.mul_(1.0 / self._ranks)  # DDP's own arithmetic
            dist.all_reduce(buffer, group=self._group)
            done.set_result(buffer)
        self._waiting = []
        try:
            after_backward(lambda: after_backward(self._end_of_backward))
        except RuntimeError:  # no backward: with `model.join()` a rank without data answers its peers from outside
            self._end_of_backward()

    def _keep_snapshot(self) -> None:
        """This step's gradient, unless it holds a NaN or an infinity: those reach no residual in a run either."""
        taken = {
            slot.layer.name: sample(buffer, slot)
            for slots, (buffer, _) in zip(self._slots, self._waiting, strict=True)
            for slot in slots
        }
        if all(np.isfinite(values).all() for values in taken.values()):
            self._snapshots.append(taken)

    def _end_of_backward(self) -> None:
        self._step += 1
        self._began_s, self._began_cpu_s = time.monotonic(), time.thread_time()

    def _before_forward(self) -> None:
        if self._trial is not None and self._trial.done:
            self._factors.append(self._trial.factor())
            self._trial = None
        if self._step_end is not None and self._step_end.done:
            self._ends_s.append(self._step_end.seconds())
            self._step_end = None
        if len(self._ready_s) >= self._steps and self._trial is None and self._step_end is None:
            self._next_phase()

    def _next_phase(self) -> None:
        model = self._model()
        if len(self._factors) < len(coding.OPTIONS):
            self._trial = coding.Trial(self._layers, coding.OPTIONS[len(self._factors)], self._ranks)
        elif len(self._ends_s) < len(KINDS) and model is not None:
            self._step_end = StepEnd(model, self._layers, KINDS[len(self._ends_s)])
        else:
            self._finish()

    def _finish(self) -> None:
        """Gather, write on rank 0, and end the script: on all ranks before the same forward."""
        own = torch.tensor(self._ready_s[: self._steps], dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(self._ranks)]
        dist.all_gather(every, own, group=self._group)
        slowest = torch.tensor([*self._factors, *self._overheads_s()], dtype=torch.float64)
        dist.all_reduce(slowest, dist.ReduceOp.MAX, group=self._group)
        if dist.get_rank(self._group) == 0:
            self._workload(torch.stack(every, dim=1), slowest.tolist()).save(self._out)
        raise SystemExit(0)

    def _overheads_s(self) -> list[float]:
        """In the order of OVERHEADS, on the share of the processors that a rank had while all were computing."""
        crowding = max(1.0, statistics.median(self._crowding))
        ends_s, readings_s = zip(*self._ends_s, strict=True)
        return [crowding * seconds for seconds in (*ends_s, statistics.median(readings_s))]

    def _workload(self, ready_s: Tensor, slowest: list[float]) -> Workload:
        layers = [layer for layer in self._layers if layer.numel]  # of the others nothing travels
        order = {layer.name: i for i, layer in enumerate(layers)}
        carried = [[order[slot.layer.name] for slot in slots if slot.layer.numel] for slots in self._slots]
        full = [b for b, bucket in enumerate(carried) if bucket]
        snapshots = self._snapshots or [{layer.name: np.zeros(1, np.float32) for layer in layers}]
        return Workload(
            name="profiled",
            layers=tuple(layers),
            buckets=tuple(tuple(carried[b]) for b in full),
            ready_s=ready_s.numpy()[:, :, full],
            gradients=tuple(np.stack([taken[layer.name] for taken in snapshots]) for layer in layers),
            coding=coding.by_operator(slowest[: -len(OVERHEADS)]),
            overhead_s=dict(zip(OVERHEADS, slowest[-len(OVERHEADS) :], strict=True)),
            note=f"{self._ranks} ranks on one machine",
        )


def obstacle(model: DistributedDataParallel) -> str | None:
    """Why a model cannot be profiled; None if it can. The same on every rank."""
    own = hook_name(model)
    if model.mixed_precision is not None:
        return "DDP(mixed_precision=...) uses the hook of this model; profile it without"
    if own is not None:
        return f"the script registered {own} on this model; profile it without"
    for parameter, layer in layers_of(model):
        if parameter.device.type != "cpu":
            return f"parameter {layer.name} is on {parameter.device}; only training on the CPU is profiled as yet"
    return None


def profile_hook(state: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """The communication hook of a Profiler."""
    ready_s = time.monotonic()
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    state.take(bucket, ready_s, done)
    return done


def sample(buffer: Tensor, slot: Slot) -> NDArray[np.float32]:
    """The same entries of a layer's gradient every time, evenly spread; one zero of a sparse one, which goes whole."""
    if buffer.layout != torch.strided:
        return np.zeros(1, np.float32)
    taken = buffer[slot.start : slot.stop : sample_stride(slot.layer.numel, SAMPLES)][:SAMPLES]
    return taken.to(torch.float32).numpy().copy()

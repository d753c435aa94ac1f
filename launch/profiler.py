"""Measures one model's step in its own script: when buckets are ready, what gradients look like, what coding costs.

Every bucket is averaged at the end of backward, after the last one is ready: so the times are those of computing alone,
with all ranks at work at once, and training goes on as it would.
"""

# No `from __future__ import annotations`: DDP compares the hook's annotations with the real classes.

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from kimad.coder import Bucket, Coder, Sending
from kimad.curves import sample_stride
from kimad.executor import Executor
from kimad.launch import forward
from kimad.layout import Layer, Slot, pack
from kimad.naming import parse_objective
from kimad.objective import Fixed
from kimad.plan import fixed_plan
from kimad.residual import Residual
from kimad.sim.workload import Workload
from kimad.state import layers_of
from kimad.statistics import StepLog

SETTLING_STEPS = 3  # DDP builds its buckets anew after the first step, with static_graph after the second
SAMPLES = 1024  # of each layer's gradient
SNAPSHOTS = 8  # steps whose gradients are kept
CODED = ("drop", "bfloat16", "int8", "topk:0.001", "topk:0.01", "topk:0.1:int8")
TRIAL_STEPS = 4  # coded with each option


@final
class Profiler:
    """Watches a DDP model for `steps` steps, writes the workload, and ends the script at its next forward."""

    def __init__(self, model: DistributedDataParallel, steps: int, out: Path) -> None:
        self._group = model.process_group
        self._ranks = self._group.size()
        self._steps = steps
        self._out = out
        named = layers_of(model)
        self._layers = [layer for _, layer in named]
        self._by_parameter = {id(parameter): layer for parameter, layer in named}
        self._slots: list[tuple[Slot, ...]] = []
        self._waiting: list[tuple[Tensor, torch.futures.Future[Tensor]]] = []
        self._ready_s: list[list[float]] = []
        self._gradients: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in self._layers}
        self._step = 0
        self._began_s = time.monotonic()
        self._trial: Trial | None = None
        self._coding: list[float] = []  # one factor for each of CODED
        model.register_comm_hook(self, profile_hook)
        forward.before_each_training_step(model, self._before_forward)

    @property
    def measuring(self) -> bool:
        """Whether buckets have settled."""
        return self._step >= SETTLING_STEPS

    def take(self, bucket: GradBucket, ready_s: float, done: torch.futures.Future[Tensor]) -> None:
        """One bucket is ready; all are averaged when the last one is."""
        if not self._waiting:
            self._slots = []
            if self.measuring:
                self._ready_s.append([])
        slots = pack(self._by_parameter[id(p)] for p in bucket.parameters())
        if self._trial is not None:
            self._trial.encode(Bucket(self._step, len(self._waiting), bucket.buffer(), slots))
        self._slots.append(slots)
        self._waiting.append((bucket.buffer(), done))
        if self.measuring:
            self._ready_s[-1].append(ready_s - self._began_s)
        if bucket.is_last():
            self._average()

    def _average(self) -> None:
        if self._trial is not None:
            self._trial.decode()
        kept = self.measuring and len(self._ready_s) <= min(SNAPSHOTS, self._steps)
        for slots, (buffer, done) in zip(self._slots, self._waiting, strict=True):
            for slot in slots if kept else ():
                self._gradients[slot.layer.name].append(sample(buffer[slot.start : slot.stop]))
            buffer.mul_(1.0 / self._ranks)
            dist.all_reduce(buffer, group=self._group)
            done.set_result(buffer)
        self._waiting = []
        queue = torch.autograd.Variable._execution_engine.queue_callback
        queue(lambda: queue(self._end_of_backward))

    def _end_of_backward(self) -> None:
        self._step += 1
        self._began_s = time.monotonic()

    def _before_forward(self) -> None:
        if self._trial is not None and self._trial.done:
            self._coding.append(self._trial.factor())
            self._trial = None
        if len(self._ready_s) >= self._steps and self._trial is None:
            if len(self._coding) < len(CODED):
                self._trial = Trial(self._layers, CODED[len(self._coding)], self._ranks)
            else:
                self._finish()

    def _finish(self) -> None:
        workload = self._workload()
        if dist.get_rank(self._group) == 0:
            workload.save(self._out)
        dist.barrier(group=self._group)
        raise SystemExit(0)

    def _workload(self) -> Workload:
        """What was measured, of all ranks together; collective."""
        order = {layer.name: i for i, layer in enumerate(self._layers)}
        own = torch.tensor(self._ready_s[: self._steps], dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(self._ranks)]
        dist.all_gather(every, own, group=self._group)
        factors = torch.tensor(self._coding, dtype=torch.float64)
        dist.all_reduce(factors, dist.ReduceOp.MAX, group=self._group)
        return Workload(
            name="profiled",
            layers=tuple(self._layers),
            buckets=tuple(tuple(order[slot.layer.name] for slot in slots) for slots in self._slots),
            ready_s=torch.stack(every, dim=1).numpy(),
            gradients=tuple(np.stack(self._gradients[layer.name]) for layer in self._layers),
            coding=by_operator(factors.tolist()),
            note=f"{self._ranks} ranks on one machine",
        )


@final
class Trial:
    """Codes some steps' gradients with one option while they are computed, as the runtime does; sends nothing."""

    def __init__(self, layers: list[Layer], option: str, ranks: int) -> None:
        objective = parse_objective(f"fixed:{option}")
        if not isinstance(objective, Fixed):
            raise TypeError(f"{option} is no fixed option")
        self._plan = fixed_plan(layers, objective)
        self._ranks = ranks
        self._coder = Coder(Residual(), ranks)
        self._executor = Executor("kimad-coding")
        self._log = StepLog(0.0)
        self._sendings: list[Sending] = []
        self._factors: list[float] = []

    @property
    def done(self) -> bool:
        """Whether enough steps were coded."""
        return len(self._factors) >= TRIAL_STEPS

    def encode(self, bucket: Bucket) -> None:
        """One bucket is ready."""
        self._executor.submit(lambda: self._sendings.append(self._encode(bucket)))

    def _encode(self, bucket: Bucket) -> Sending:
        sending = self._coder.encode(bucket, self._plan, self._log, read_curves=False)
        return replace(sending, bucket=replace(bucket, buffer=torch.empty_like(bucket.buffer)))

    def decode(self) -> None:
        """The last bucket was ready: decode as many frames of each as there would be."""
        self._executor.drain()
        for sending in self._sendings:
            frames = [sending.payload] * self._ranks if sending.mode == "frames" else []
            self._coder.decode(sending, frames, self._log)
        log = self._log
        measured_s = sum(log.encoded_s.values()) + sum(log.decoded_s.values())
        expected_s = sum(log.expected_s.values())
        self._factors.append(measured_s / expected_s if expected_s else 1.0)  # nothing is coded of a NaN
        self._log, self._sendings = StepLog(0.0), []

    def factor(self) -> float:
        """Measured / expected seconds of coding, median over the steps."""
        self._executor.close()
        return statistics.median(self._factors)


def by_operator(factors: list[float]) -> dict[str, float]:
    """Mean factor of each operator, from one factor for each option of CODED."""
    found: dict[str, list[float]] = {}
    for option, factor in zip(CODED, factors, strict=True):
        found.setdefault(option.partition(":")[0], []).append(factor)
    return {operator: statistics.mean(values) for operator, values in found.items()}


def profile_hook(state: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """The communication hook of a Profiler."""
    ready_s = time.monotonic()
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    state.take(bucket, ready_s, done)
    return done


def sample(gradient: Tensor) -> NDArray[np.float32]:
    """The same entries of a flat gradient every time, evenly spread."""
    taken = gradient[:: sample_stride(gradient.numel(), SAMPLES)][:SAMPLES]
    return taken.to(torch.float32).numpy().copy()

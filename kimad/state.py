"""State: what one DDP model's hook knows. Made before or after the model, and usable from any training loop."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

import torch
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from kimad.config import Config
from kimad.errors import AttachError, ConfigError
from kimad.exchange import Bucket
from kimad.executor import Executor
from kimad.group import make_group
from kimad.layout import Layer, Slot, pack
from kimad.loop import Loop
from kimad.record import Sink, StepRecord
from kimad.shutdown import close_at_exit

log = logging.getLogger("kimad")


@final
class State:
    """The state of one model's hook; see `kimad.attach`.

    A State made by hand touches neither model nor process group until its first bucket.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.config.check_attachable()
        self.enabled = True  # False: plain all-reduce until set again, on every rank alike
        self.sinks: list[Sink] = []  # receive every StepRecord of this rank; closed with the State
        self._names: dict[int, Layer] = {}  # by id of the parameter
        self._used_map: Callable[[], torch.Tensor] | None = None
        self._unused: set[str] = set()  # layers that had no part in this rank's loss
        self._slots: dict[tuple[int, ...], tuple[Slot, ...]] = {}
        self._loop: Loop | None = None
        self._executor: Executor | None = None
        self.alone = False  # world size 1
        self._pending: Mapping[str, Any] | None = None
        self._failed_bind: BaseException | None = None
        self._index = 0  # of the next bucket in this step
        self._step = 0
        self._step_began_s = time.monotonic()

    @property
    def records(self) -> list[StepRecord]:
        """The latest StepRecords, oldest first, once the steps before are wholly done."""
        if self._executor is not None:
            self._executor.drain()
        return list(self._loop.records) if self._loop is not None else []

    @property
    def loop(self) -> Loop:
        """What runs the exchange. Raises AttachError before the State is bound to a model."""
        if self._loop is None:
            raise AttachError("this State is not bound to a model with more than one rank yet")
        return self._loop

    def bind(self, model: DistributedDataParallel) -> None:
        """Take names and ranks from a model and make a process group of its own; on all ranks alike."""
        if self._loop is not None or self.alone:
            raise AttachError("this State belongs to a model already; make one State a model")
        ignored = set(getattr(model, "parameters_to_ignore", ()))
        named = [(n, p) for n, p in model.module.named_parameters() if p.requires_grad and n not in ignored]
        for name, parameter in named:
            if parameter.device.type != "cpu":
                raise AttachError(f"parameter {name} is on {parameter.device}; only CPU gradients are averaged as yet")
        layers = [Layer(name, tuple(p.shape)) for name, p in named]
        self._names = {id(p): layer for (_, p), layer in zip(named, layers, strict=True)}
        self._used_map = _used_map(model)
        if model.process_group.size() == 1:
            self.alone = True
            log.warning("world size 1: nothing to exchange, gradients stay as they are")
            return
        group, store = make_group(model.process_group, layers, self.config.outage_timeout_s)
        self._loop = Loop(self.config, layers, group, store, self.sinks)
        self._executor = Executor("kimad")
        close_at_exit(self)
        if self._pending is not None:
            self._load(self._pending)

    def submit(self, bucket: GradBucket, ready_s: float, done: torch.futures.Future[torch.Tensor]) -> None:
        """Queue one bucket; `done` is completed with DDP's own buffer, whatever happens."""
        buffer = bucket.buffer()
        try:
            task = self._task(bucket, buffer, ready_s)
        except BaseException as error:
            task = self._failed(error)
        if task is None or self._executor is None:
            done.set_result(buffer)
            return

        def work(task: Callable[[], None] = task) -> None:
            try:
                task()
            finally:
                done.set_result(buffer)

        self._executor.submit(work)

    def _failed(self, error: BaseException) -> Callable[[], None] | None:
        """An error in the hook itself: other ranks learn of it as of any other."""
        if self._loop is None:
            self._failed_bind = self._failed_bind or error
            return None
        loop = self._loop
        return lambda: loop.fail(error, "hook")

    def _task(self, bucket: GradBucket, buffer: torch.Tensor, ready_s: float) -> Callable[[], None] | None:
        if self._loop is None and not self.alone and self._failed_bind is None:
            self.bind(find_model(self))
        if self._loop is None or self._executor is None:
            return None
        loop, executor, parameters = self._loop, self._executor, bucket.parameters()
        key = tuple(id(p) for p in parameters)
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = pack(self._names[i] for i in key)
        item = Bucket(self._step, self._index, buffer, slots)
        if self._index == 0 and self.enabled:
            executor.submit(partial(loop.begin_step, self._step_began_s))
        self._index += 1
        if not self.enabled:
            return lambda: loop.average_plainly(item)
        self._unused |= {self._names[id(p)].name for p in parameters if p.grad is None}
        since_s = ready_s - self._step_began_s - (loop.coding_s() if self._index > 1 else 0.0)
        return lambda: loop.average(item, since_s)

    def end_buckets(self) -> None:
        """After the hook of the last bucket, before DDP finishes; DDP's marks cannot be read inside a hook."""
        if self._loop is None or self._executor is None:
            return
        unused, self._unused = self._unused, set()
        if self._used_map is not None:
            used = self._used_map().tolist()
            unused = {layer.name for layer, mark in zip(self._names.values(), used, strict=True) if not mark}
        if self.enabled:
            self._executor.submit(lambda: self.loop.end_step(unused))

    def next_step(self) -> None:
        """A step is over."""
        self._index = 0
        self._step += 1
        self._step_began_s = time.monotonic()

    def end_backward(self) -> None:
        """End of a backward pass, in the user's thread, after DDP has finished. Raises what went wrong in the step."""
        self.next_step()
        if self._failed_bind is not None:
            raise self._failed_bind
        if self._loop is not None and self._loop.failure is not None:
            self._loop.board.linger()
            raise self._loop.failure

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, as plain tensors and numbers: `torch.load(weights_only=True)` reads it.

        The residual is this rank's own; with distributed checkpoints give it a key with the rank in it.
        """
        if self._loop is None:
            return {"version": 1, "residual": dict((self._pending or {}).get("residual", {}))}
        if self._executor is not None:
            self._executor.drain()
        return {"version": 1, "residual": self._loop.residual.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over a state_dict; before or after the State is bound to its model. Raises ConfigError."""
        if saved.get("version") != 1 or not isinstance(saved.get("residual"), Mapping):
            raise ConfigError(f"not a Kimad state_dict: version {saved.get('version')!r}; this version reads version 1")
        if self._loop is None:
            self._pending = saved
        else:
            self._load(saved)

    def _load(self, saved: Mapping[str, Any]) -> None:
        if self._executor is not None:
            self._executor.drain()
        numel = {layer.name: layer.numel for layer in self._names.values()}
        for name, tensor in saved["residual"].items():
            if numel.get(name) != tensor.numel():
                raise ConfigError(
                    f"the saved residual of {name} has {tensor.numel()} entries, the model {numel.get(name)}"
                )
        self.loop.residual.load_state_dict(dict(saved["residual"]))

    def close(self) -> None:
        """Finish what is running, join the thread, close the group. The hook then leaves gradients unaveraged."""
        if self._executor is not None:
            self._executor.close()
        if self._loop is not None:
            self._loop.close_group()
        for sink in self.sinks:
            sink.close()
        self.sinks.clear()


def _used_map(model: DistributedDataParallel) -> Callable[[], torch.Tensor] | None:
    """DDP's own marks of the parameters that this rank used; it keeps them with find_unused_parameters alone."""
    read = getattr(model.reducer, "_get_local_used_map", None)
    return read if model.find_unused_parameters and not model.static_graph else None


def find_model(state: State) -> DistributedDataParallel:
    """The DDP model whose hook holds this state. Raises AttachError if there is none."""
    for thing in gc.get_objects():
        if issubclass(type(thing), DistributedDataParallel) and any(s is state for _, s in thing._comm_hooks):
            found: DistributedDataParallel = thing
            return found
    raise AttachError("no DDP model has this State in its communication hook")

"""State: what one DDP model's hook knows. Made before or after the model, and usable from any training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch.nn.parallel import DistributedDataParallel

from kimad import checkpoint
from kimad.accumulation import Watch, smallest
from kimad.coder import Bucket
from kimad.config import Config
from kimad.counters import known_endpoints
from kimad.errors import AttachError
from kimad.group import make_group, ranks_of
from kimad.internals import GradBucket
from kimad.layout import Layer, Slot, pack
from kimad.local_gradients import LocalGradients
from kimad.loop import Loop
from kimad.model import ONE_MODEL, find_model, layers_of, used_map
from kimad.momentum import TakenMomentum
from kimad.record import Sink, StepRecord
from kimad.shared_link import SharedLink, join, leave
from kimad.shutdown import close_at_exit, closed

log = logging.getLogger("kimad")


@final
class State:
    """The state of one model's hook; see `kimad.attach`.

    A State made by hand touches neither model nor process group until its first bucket.
    """

    def __init__(self, config: Config | None = None, optimizer: torch.optim.Optimizer | None = None) -> None:
        """optimizer: the model's, for error feedback that takes its momentum over; others do not look at it."""
        self.config = config or Config()
        self.config.check_attachable()
        self._optimizer = optimizer
        self._momentum: TakenMomentum | None = None
        self.enabled = True  # False: plain all-reduce until set again, on every rank alike
        self.sinks: list[Sink] = []  # receive every StepRecord of this rank; closed with the State
        self._names: dict[int, Layer] = {}  # by id of the parameter
        self._used_map: Callable[[], torch.Tensor] | None = None
        self._unused: set[str] = set()  # layers that had no part in this rank's loss
        self._slots: dict[tuple[int, ...], tuple[Slot, ...]] = {}
        self._watch: Watch | None = None  # for gradients accumulated without no_sync; on rank 0, which tells
        self._local: LocalGradients | None = None  # that no exchange averaged
        self._loop: Loop | None = None
        self._link: SharedLink | None = None  # with the process's other models
        self.alone = False  # world size 1
        self._closed = False
        self._pending: Mapping[str, Any] | None = None
        self._broken: BaseException | None = None  # why this State cannot serve its model; raised in every step
        self._index = 0  # of the next bucket in this step
        self._step = 0
        self._step_began_s = time.monotonic()

    @property
    def records(self) -> list[StepRecord]:
        """The latest StepRecords, oldest first, once the steps before are wholly done."""
        if self._loop is not None:
            self._loop.drain()
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
            raise AttachError(ONE_MODEL)
        named = layers_of(model)
        for parameter, layer in named:
            if parameter.device.type != "cpu":
                raise AttachError(
                    f"parameter {layer.name} is on {parameter.device}; only CPU gradients are averaged as yet"
                )
        layers = [layer for _, layer in named]
        self.config.by_name([layer.name for layer in layers])  # raises for a pattern that matches none of them
        self._names = {id(parameter): layer for parameter, layer in named}
        self._used_map = used_map(model)
        if model.process_group.size() == 1:
            self.alone = True
            log.warning("world size 1: nothing to exchange, gradients stay as they are")
            return
        before = known_endpoints()
        self._link = join(ranks_of(model.process_group), self.config)
        if self.config.error_feedback == "dgc":
            self._momentum = TakenMomentum(self._optimizer, [parameter for parameter, _ in named])
        momentum = self._momentum.momentum if self._momentum is not None else 0.0
        try:
            group, store = make_group(model.process_group, layers, self.config.outage_timeout_s)
            self._loop = Loop(self.config, layers, group, store, self.sinks, before, momentum, self._link)
        except BaseException:
            self._give_back()
            raise
        close_at_exit(self)
        self._local = LocalGradients(model, [(layer.name, parameter) for parameter, layer in named])
        watched = smallest(named)
        if self._loop.rank == 0 and watched is not None:
            self._watch = Watch(watched)
        if self._pending is not None:
            self._load(self._pending)

    def submit(self, bucket: GradBucket, ready_s: float, done: torch.futures.Future[torch.Tensor]) -> None:
        """Hand over one bucket; `done` is completed with DDP's own buffer, whatever happens."""
        buffer = bucket.buffer()
        if bucket.is_last() and self._local is not None:
            self._local.exchanged()

        def complete() -> None:
            done.set_result(buffer)

        try:
            handed_over = self._hand_over(bucket, buffer, ready_s, complete)
        except BaseException as error:
            if self._loop is None or isinstance(error, AttachError):
                self._broken = self._broken or error
            if self._loop is not None:
                self._loop.fail(error, "hook")  # other ranks learn of it as of any other
            handed_over = False
        if not handed_over:
            complete()

    def _hand_over(
        self, bucket: GradBucket, buffer: torch.Tensor, ready_s: float, complete: Callable[[], None]
    ) -> bool:
        """Give a bucket to the loop, which will call `complete`. False if there is no loop to give it to."""
        if self._closed and not self.alone:
            raise AttachError("this State is closed; attach a new one to a newly wrapped model")
        if self._loop is None and not self.alone and self._broken is None:
            self.bind(find_model(self))
        if self._loop is None:
            return False
        loop, parameters = self._loop, bucket.parameters()
        key = tuple(id(p) for p in parameters)
        slots = self._slots.get(key)
        if slots is None:
            if not self._names.keys() >= set(key):
                raise AttachError(ONE_MODEL)
            slots = self._slots[key] = pack(self._names[i] for i in key)
        item = Bucket(self._step, self._index, buffer, slots)
        if self._index == 0:  # the time in which another model was trained is not this one's
            self._step_began_s = max(self._step_began_s, loop.link.stepped_s)
        began_s = self._step_began_s
        if self._index == 0 and self.enabled:
            loop.begin_step(began_s)
        self._index += 1
        if self.enabled:
            self._unused |= {self._names[id(p)].name for p in parameters if p.grad is None}
            loop.average(item, ready_s - began_s - loop.coding_s(began_s), complete)
        else:
            loop.average_plainly(item, complete)
        return True

    def end_buckets(self) -> None:
        """After the hook of the last bucket, before DDP finishes; DDP's marks cannot be read inside a hook."""
        if self._loop is None or self._closed:
            return
        unused, self._unused = self._unused, set()
        if self._used_map is not None:
            used = self._used_map().tolist()
            unused = {layer.name for layer, mark in zip(self._names.values(), used, strict=True) if not mark}
        if self.enabled:
            self._loop.end_step(unused)

    def next_step(self) -> None:
        """A step is over."""
        self._index = 0
        self._step += 1
        self._step_began_s = self._link.stepped() if self._link is not None else time.monotonic()

    def end_backward(self) -> None:
        """End of a backward pass, in the user's thread, after DDP has finished. Raises what went wrong in the step."""
        self.next_step()
        if self._watch is not None and self.enabled:
            self._watch.exchanged()
        if self._broken is not None:
            raise self._broken
        if self._loop is not None and self._loop.failure is not None:
            self._loop.board.linger()
            raise self._loop.failure

    def state_dict(self) -> dict[str, Any]:
        """What the error feedback remembers, as plain tensors and texts: `torch.load(weights_only=True)` reads it.

        Forecasts and error curves are not in it: an adaptive run learns them anew, a fixed plan resumes bit for bit.

        It is this rank's own; with distributed checkpoints give it a key with the rank in it.
        """
        kind = self.config.error_feedback
        if self._loop is None:
            return {**checkpoint.to_save(kind, None), **(self._pending or {})}
        self._loop.drain()
        return checkpoint.to_save(kind, self._loop.feedback)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over a state_dict; before or after the State is bound to its model. Raises ConfigError."""
        checkpoint.check(saved, self.config.error_feedback)
        if self._loop is None:
            self._pending = saved
        else:
            self._load(saved)

    def _load(self, saved: Mapping[str, Any]) -> None:
        self.loop.drain()
        checkpoint.check_layers(saved, self.config.error_feedback, list(self._names.values()))
        self.loop.feedback.load_state_dict(saved)

    def close(self) -> None:
        """Finish what is running, join the threads, close the group. May be called again.

        The model cannot be trained on: its next backward raises AttachError.
        """
        self._closed = True
        closed(self)
        if self._watch is not None:
            self._watch.close()
        if self._local is not None:
            self._local.close()
        if self._loop is not None:
            self._loop.close()
        self._give_back()
        for sink in self.sinks:
            sink.close()
        self.sinks.clear()

    def _give_back(self) -> None:
        if self._link is not None:
            leave(self._link)
            self._link = None
        if self._momentum is not None:
            self._momentum.give_back()
            self._momentum = None

    def leave(self, error: BaseException | None) -> None:
        """Close at the end of the program. Peers that still wait for this rank are told the error that ended it."""
        told = self._loop is not None and error is not None and not self._closed and self._loop.failure is None
        if told and self._loop is not None and error is not None:
            self._loop.board.report(self._loop.plan.step, "in the training script", error)
        self.close()
        if told and self._loop is not None:
            self._loop.board.linger()

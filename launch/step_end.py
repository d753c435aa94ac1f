"""What a step's end costs: the runtime's own loop at the end of backward, on copies of the buckets.

Statistics, agreement, the decision and the record take the processor from the forward that has begun meanwhile.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch.nn.parallel import DistributedDataParallel

from kimad.coder import Bucket
from kimad.config import Config
from kimad.counters import known_endpoints
from kimad.curves import kept_energy, squared_norm
from kimad.group import make_group
from kimad.layout import Layer
from kimad.loop import Loop
from kimad.naming import parse_objective
from kimad.sinks.jsonl import JsonlSink

KINDS = ("fixed", "adaptive")  # plans whose steps are ended
FIRST_STEPS, STEPS = 4, 8  # the first ones decide nothing yet; the others are measured


@final
class StepEnd:
    """Ends FIRST_STEPS + STEPS steps of one kind of plan; all ranks at once, over a group of its own."""

    def __init__(self, model: DistributedDataParallel, layers: Sequence[Layer], kind: str) -> None:
        config = Config() if kind == "adaptive" else Config(objective=parse_objective("fixed:topk:0.01"))
        before = known_endpoints()
        group, store = make_group(model.process_group, layers, config.outage_timeout_s)
        self._loop = Loop(config, layers, group, store, [JsonlSink(Path(os.devnull))], before)
        self._ends_s: list[float] = []
        self._readings_s: list[float] = []

    @property
    def done(self) -> bool:
        """Whether enough steps were ended; the threads and connections behind them are closed then."""
        return len(self._ends_s) >= FIRST_STEPS + STEPS

    def run(self, buckets: Sequence[Bucket]) -> None:
        """Average copies of the buckets, and end the step. Raises what goes wrong in it."""
        loop = self._loop
        loop.begin_step(time.monotonic())
        for bucket in buckets:
            loop.average(replace(bucket, buffer=bucket.buffer.clone()), 0.0, lambda: None)
        loop.drain()
        began_s = time.process_time()  # of all threads; this one waits
        loop.end_step(set())
        loop.drain()
        self._ends_s.append(time.process_time() - began_s)
        if loop.failure is not None:
            raise loop.failure
        self._readings_s.append(reading_s(buckets))
        if self.done:
            loop.close()

    def seconds(self) -> tuple[float, float]:
        """Of the processor: of a step's end, and of reading the error curves; medians."""
        return statistics.median(self._ends_s[FIRST_STEPS:]), statistics.median(self._readings_s)


def reading_s(buckets: Sequence[Bucket]) -> float:
    """Seconds of the processor for the error curves of all layers that are compressed."""
    began_s = time.thread_time()
    for bucket in buckets:
        if bucket.buffer.dtype == torch.float32 and bucket.buffer.layout == torch.strided:
            for slot in bucket.slots:
                gradient = bucket.buffer[slot.start : slot.stop]
                squared_norm(gradient)
                kept_energy(gradient, bucket.step)
    return time.thread_time() - began_s

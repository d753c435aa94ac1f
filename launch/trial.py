"""What coding costs: some steps' gradients are coded while they are computed, as the runtime does; nothing is sent."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import final

import torch

from kimad.coder import Bucket, Coder, Sending
from kimad.executor import Executor
from kimad.layout import Layer
from kimad.naming import parse_objective
from kimad.objective import Fixed
from kimad.plan import fixed_plan
from kimad.residual import Residual
from kimad.statistics import StepLog

OPTIONS = ("drop", "bfloat16", "int8", "topk:0.001", "topk:0.01", "topk:0.1:int8")  # each is tried by itself
STEPS = 4  # coded with each option


@final
class Trial:
    """Codes STEPS steps with one option. Coding takes the processor from backward, which slows both, as in a run."""

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
        self._error: Exception | None = None
        self._factors: list[float] = []

    @property
    def done(self) -> bool:
        """Whether enough steps were coded."""
        return len(self._factors) >= STEPS

    def encode(self, bucket: Bucket) -> None:
        """One bucket is ready. Gradients of another type than float32 are never coded."""
        if bucket.buffer.dtype == torch.float32 and bucket.buffer.layout == torch.strided:
            self._executor.submit(partial(self._encode, bucket))

    def _encode(self, bucket: Bucket) -> None:
        try:
            sending = self._coder.encode(bucket, self._plan, self._log, read_curves=False)
        except Exception as error:  # a task must not raise: nobody would wait for the thread to end
            self._error = self._error or error
            return
        elsewhere = replace(bucket, buffer=torch.empty_like(bucket.buffer))  # DDP's own stays as it is
        self._sendings.append(replace(sending, bucket=elsewhere))

    def decode(self) -> None:
        """The last bucket was ready: decode as many frames of each as there would be. Raises what encoding raised."""
        self._executor.drain()
        if self._error is not None:
            raise self._error
        for sending in self._sendings:
            frames = [sending.payload] * self._ranks if sending.mode == "frames" else []
            self._coder.decode(sending, frames, self._log)
        log = self._log
        measured_s = sum(log.encoded_s.values()) + sum(log.decoded_s.values())
        expected_s = sum(log.expected_s.values())
        self._factors.append(measured_s / expected_s if expected_s else 1.0)  # nothing is coded of a NaN
        self._log, self._sendings = StepLog(0.0), []

    def factor(self) -> float:
        """Measured / expected seconds of coding, median over the steps; ends the thread."""
        self._executor.close()
        return statistics.median(self._factors)


def by_operator(factors: Sequence[float]) -> dict[str, float]:
    """Mean factor of each operator, from one factor for each of OPTIONS."""
    found: dict[str, list[float]] = {}
    for option, factor in zip(OPTIONS, factors, strict=True):
        found.setdefault(option.partition(":")[0], []).append(factor)
    return {operator: statistics.mean(values) for operator, values in found.items()}

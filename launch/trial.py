"""What coding costs: some steps' gradients are coded at the end of backward, on all ranks at once; nothing is sent.

So these are the seconds of a rank that does nothing else on its share of the processors.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from kimad.coder import Bucket, Coder
from kimad.error_feedback import EF14
from kimad.layout import Layer
from kimad.naming import parse_objective
from kimad.objective import Fixed
from kimad.plan import fixed_plan
from kimad.statistics import StepLog

OPTIONS = ("drop", "bfloat16", "int8", "topk:0.001", "topk:0.01", "topk:0.1:int8")  # each is tried by itself
STEPS = 4  # coded with each option


@final
class Trial:
    """Codes STEPS steps with one option."""

    def __init__(self, layers: list[Layer], option: str, ranks: int) -> None:
        objective = parse_objective(f"fixed:{option}")
        if not isinstance(objective, Fixed):
            raise TypeError(f"{option} is no fixed option")
        self._plan = fixed_plan(layers, objective)
        self._ranks = ranks
        self._feedback = EF14()
        self._coder = Coder(self._feedback, ranks, 0)
        self._scratch: dict[int, Tensor] = {}  # by bucket; memory that is new each time would be most of the seconds
        self._factors: list[float] = []

    @property
    def done(self) -> bool:
        """Whether enough steps were coded."""
        return len(self._factors) >= STEPS

    def code(self, buckets: Sequence[Bucket]) -> None:
        """Code a step: encode every bucket, and decode as many frames of each as there would be.

        Gradients of another type than float32 are never coded.
        """
        log = StepLog(0.0)
        began_s = time.monotonic()
        for bucket in buckets:
            if bucket.buffer.dtype == torch.float32 and bucket.buffer.layout == torch.strided:
                self._code(bucket, log)
        self._feedback.end_step(set())
        measured_s, expected_s = time.monotonic() - began_s, sum(log.expected_s.values())
        self._factors.append(measured_s / expected_s if expected_s else 1.0)  # nothing is coded of a NaN

    def _code(self, bucket: Bucket, log: StepLog) -> None:
        sending = self._coder.encode(bucket, self._plan, log, read_curves=False)
        scratch = self._scratch.setdefault(bucket.index, torch.empty_like(bucket.buffer))  # DDP's own stays as it is
        frames = [sending.payload] * self._ranks if sending.mode == "frames" else []
        self._coder.decode(replace(sending, bucket=replace(bucket, buffer=scratch)), frames, log)

    def factor(self) -> float:
        """Measured / expected seconds of coding, median over the steps."""
        return statistics.median(self._factors)


def by_operator(factors: Sequence[float]) -> dict[str, float]:
    """Mean factor of each operator, from one factor for each of OPTIONS."""
    found: dict[str, list[float]] = {}
    for option, factor in zip(OPTIONS, factors, strict=True):
        found.setdefault(option.partition(":")[0], []).append(factor)
    return {operator: statistics.mean(values) for operator, values in found.items()}

"""What a run comes to: bytes saved, time, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kimad.launch.history import read_steps
from kimad.record import StepRecord

_SAVING = 0.99  # a step that sends less than this share of the dense bytes counts as compressed


@final
@dataclass(frozen=True)
class Summary:
    """Figures of one run, from rank 0's records."""

    steps: int
    seconds: float  # sum of the steps
    wire_bytes: int  # sent by rank 0, plan agreement included
    dense_bytes: int  # what plain DDP would have sent
    compressed_steps: int
    objective: str  # of the last step

    @property
    def compression_factor(self) -> float:
        """Dense bytes / wire bytes."""
        return self.dense_bytes / max(1, self.wire_bytes)

    @property
    def verdict(self) -> str:
        """Half a sentence."""
        if self.objective == "off":
            return "plain DDP, as asked"
        if self.compressed_steps == 0:
            asked = self.objective.startswith("fixed:")
            return "nothing was compressed, " + ("as asked" if asked else "compressing would not pay here")
        share = f"{self.compressed_steps} of {self.steps} steps"
        return f"{share} compressed, {self.compression_factor:.1f}x fewer bytes"

    @property
    def line(self) -> str:
        """One line for people."""
        saved = max(0.0, 1 - self.wire_bytes / max(1, self.dense_bytes))
        sent = f"a rank sent {size(self.wire_bytes)} of {size(self.dense_bytes)} ({saved:.1%} saved)"
        return f"{self.steps} steps in {self.seconds:.2f} s; {sent}; {self.verdict}"


def read_records(path: Path) -> Summary | None:
    """Sum up a `records.jsonl`; None where there is no step in it. Lines cut off are left out."""
    return sum_up(read_steps(path))


def sum_up(steps: Iterable[StepRecord]) -> Summary | None:
    """Sum up steps; None where there is none."""
    count = wire_bytes = dense_bytes = compressed = 0
    seconds = 0.0
    objective = ""
    for step in steps:
        count += 1
        seconds += step.measured.get("step_s", 0.0)
        wire_bytes += step.wire_bytes + step.control_bytes
        dense_bytes += step.dense_bytes
        compressed += step.wire_bytes < _SAVING * step.dense_bytes
        objective = step.objective
    return Summary(count, seconds, wire_bytes, dense_bytes, compressed, objective) if count else None


def size(count_bytes: float) -> str:
    """Bytes for people, SI."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_bytes >= factor:
            return f"{count_bytes / factor:.3g} {unit}"
    return f"{count_bytes:.0f} B"

"""How one layer is sent in one step: an operator and its parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One way to send one layer; small, hashable and printable (`topk:120:log4`)."""

    operator: str  # name of a compressor in ALL_COMPRESSORS
    k: int = 0  # what the operator counts (`Compressor.counts`): kept entries, levels, rank; 0 where it counts nothing
    values: str = ""  # code of the kept values; used by operators that have value codes alone
    threshold: float = 0.0  # smallest kept magnitude, a float32 number; used by `threshold` alone

    def __str__(self) -> str:
        parts = [self.operator]
        if self.k or self.values:
            parts.append(str(self.k))
        if self.threshold:
            parts.append(repr(self.threshold))
        if self.values:
            parts.append(self.values)
        return ":".join(parts)

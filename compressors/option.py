"""How one layer is sent in one step: an operator and its parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One way to send one layer; small, hashable and printable (`topk:120:log4`)."""

    operator: str  # name of a compressor in ALL_COMPRESSORS
    k: int = 0  # kept entries; used by sparse operators alone
    values: str = ""  # code of the kept values; used by sparse operators alone

    def __str__(self) -> str:
        return f"{self.operator}:{self.k}:{self.values}" if self.values else self.operator

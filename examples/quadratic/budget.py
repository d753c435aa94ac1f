"""How many entries a message may hold: Kimad's budget, or a fixed number.

    entries = B_est · t_comm / 64,   t_comm = (T − T_comp) / 2        each direction has half of what computing leaves

A kept entry costs 64 bits, its value and its position, as in the paper. All d entries need no positions and cost 32 d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Estimate = Literal["last", "start", "random"]

ENTRY_BITS = 64
DENSE_BITS = 32  # an entry, where all are sent


@final
@dataclass(frozen=True)
class Sender:
    """What one run sends: a fixed number of entries, or as many as should fit a round of `round_s`."""

    allocation: str  # one of allocation.ALLOCATIONS
    entries: int | None = None  # a fixed number, or
    round_s: float | None = None  # T, seconds that a round should take
    estimate: Estimate = "last"  # B_est: the last transfer's mean rate, the rate at its start, or B at a random moment

    def __post_init__(self) -> None:
        if (self.entries is None) == (self.round_s is None):
            raise ValueError(f"entries is {self.entries} and round_s is {self.round_s}; exactly one must be given")


def entries_within(rate_bps: Floats, comm_s: Floats, layers: int, size: int) -> Ints:
    """Entries that `rate_bps` carries in `comm_s`: at least one a layer, and all `size` where positions cost more."""
    entries = np.floor(np.maximum(rate_bps * comm_s, 0.0) / ENTRY_BITS)
    return np.where(entries * ENTRY_BITS >= size * DENSE_BITS, size, np.maximum(entries, layers)).astype(np.int64)


def message_bits(entries: Ints, size: int) -> Floats:
    """What messages of so many entries cost."""
    bits: Floats = np.minimum(entries * ENTRY_BITS, size * DENSE_BITS).astype(np.float64)
    return bits

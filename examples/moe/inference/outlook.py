"""What is likely to be needed next: the coming visits to layers, and how probable each expert is in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Visit:
    """One layer of one step of one batch."""

    layer: int
    probable: Floats  # [experts], that at least one token of the batch goes there


@final
@dataclass(frozen=True)
class Outlook:
    """The coming visits in their order, and what time and the link allow."""

    visits: tuple[Visit, ...] = ()
    start_s: float = 0.0  # until the first of them asks for its experts
    visit_s: float = 0.0  # of computing, from one visit to the next; 0 where not known
    load_s: float = float("inf")  # for one expert, at the rate the link is forecast to have


def union_probability(single: Floats) -> Floats:
    """1 - Π (1 - p): that at least one of n tokens goes there. single: [n, ...]; returns [...]."""
    out: Floats = 1.0 - np.prod(1.0 - np.clip(single, 0.0, 1.0), axis=0)
    return out

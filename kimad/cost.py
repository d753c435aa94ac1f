"""What coding costs: seconds to encode and decode, learnt while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from kimad.compressors import ALL_COMPRESSORS, Option

# Seconds on one core of a current server: for a call, for an entry of the layer, for a kept entry. Encoding, taking
# off the residual and decoding a frame from each of two ranks together, with compiled kernels and in batches. Only the
# start: measuring corrects them.
START = {
    "drop": (2e-6, 0.4e-9, 0.0),
    "float32": (3e-5, 2e-9, 0.0),
    "bfloat16": (5e-6, 1.2e-9, 0.0),
    "int8": (5e-6, 1.1e-9, 0.0),
    "int4": (5e-6, 1.2e-9, 0.0),
    "topk": (1e-5, 0.9e-9, 1.5e-8),
}
CALL_S, ENTRY_S, KEPT_S = 1e-4, 4e-9, 4e-8  # an operator without a line above


def start_s(option: Option, numel: int) -> float:
    """Expected seconds before anything was measured."""
    call_s, entry_s, kept_s = START.get(option.operator, (CALL_S, ENTRY_S, KEPT_S))
    return call_s + entry_s * numel + kept_s * option.k


@final
class CodingCost:
    """Measured over expected seconds, for each operator; follows with weight 0.2 a step. known: what it begins with."""

    WEIGHT = 0.2
    LIMITS = (0.1, 20.0)  # a single preempted step must not make an operator unusable

    def __init__(self, known: Mapping[str, float] | None = None) -> None:
        self.factor = {c.name: (known or {}).get(c.name, 1.0) for c in ALL_COMPRESSORS}

    def update(self, operator: str, expected_s: float, measured_s: float) -> None:
        """Take in one step's sums for an operator; nothing if it was not used."""
        if expected_s <= 0 or measured_s <= 0:
            return
        low, high = self.LIMITS
        seen = min(high, max(low, measured_s / expected_s))
        self.factor[operator] += self.WEIGHT * (seen - self.factor[operator])

"""What a finished step tells whoever decides, in a run and in the simulator alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.layout import Layer
from kimad.monitor import LinkSamples, link_samples
from kimad.statistics import Everyone

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Observation:
    """All that a finished step told, and all that decisions depend on, on a real network and a simulated one alike."""

    end_s: float  # s, monotonic, when the last bucket was finished
    buckets: tuple[tuple[Layer, ...], ...]
    everyone: Everyone
    samples: LinkSamples | None  # None where the step measures nothing
    curves: Floats | None  # (layers, densities) kept energies summed over ranks, where they were read
    gradient: Floats | None = None  # (layers,) squared norms of the gradients, read with them and summed likewise
    own_owed: Floats | None = None  # (layers,) mean squared norm of what ranks that send less owe, where there are any

    @classmethod
    def of(
        cls, step: int, end_s: float, buckets: tuple[tuple[Layer, ...], ...], everyone: Everyone,
        curves: Floats | None, gradient: Floats | None = None, own_owed: Floats | None = None,
    ) -> Observation:  # fmt: skip
        """What step number `step` told; the first one, whose connections are new, and a void one measure no link."""
        measures = step > 0 and not everyone.void
        samples = link_samples(end_s, *everyone.arrived) if measures else None
        return cls(end_s, buckets, everyone, samples, curves, gradient, own_owed)

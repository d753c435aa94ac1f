"""A menu as the stages of a dynamic programme: what can be chosen for each bucket, without what is beaten anyway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True)
class LayerOptions:
    """Options of a layer that no cheaper one beats, from the cheapest on."""

    column: Ints
    more_s: Floats  # seconds above the cheapest option
    error: Floats


@final
@dataclass(frozen=True)
class Stage:
    """One bucket."""

    first: int  # its first layer
    layers: tuple[LayerOptions, ...]
    base_s: float  # seconds of the cheapest that can be done with it
    frames_s: float  # seconds by which its layers at their cheapest are above that
    ways: Ints  # whole ways that are allowed
    whole_s: Floats  # seconds of each above the cheapest
    whole_error: Floats
    dearest_s: float  # seconds at which nothing is left to gain


def bucket_stages(menu: Menu) -> list[Stage]:
    """One stage a bucket, in order."""
    cost_s, allowed = menu.cost_s, np.isfinite(menu.error)
    order = np.lexsort((menu.error, np.where(allowed, cost_s, np.inf)), axis=1)
    error = np.take_along_axis(np.where(allowed, menu.error, np.inf), order, axis=1)
    sorted_s = np.take_along_axis(cost_s, order, axis=1)
    better = np.ones(error.shape, bool)
    better[:, 1:] = error[:, 1:] < np.minimum.accumulate(error, axis=1)[:, :-1]
    whole_cost_s = menu.whole_link_s + menu.whole_coding_s
    ends = np.append(menu.starts[1:], len(cost_s))
    stages = []
    for b, (first, end) in enumerate(zip(menu.starts.tolist(), ends.tolist(), strict=True)):
        layers = tuple(
            LayerOptions(order[i, kept], sorted_s[i, kept] - sorted_s[i, 0], error[i, kept])
            for i, kept in ((i, better[i]) for i in range(first, end))
        )
        ways = np.flatnonzero(np.isfinite(menu.whole_error[b]))
        cheapest_s = float(sorted_s[first:end, 0].sum())
        base_s = min(cheapest_s, float(whole_cost_s[b, ways].min(initial=np.inf)))
        dearest_s = cheapest_s + sum(float(layer.more_s[-1]) for layer in layers)
        stages.append(
            Stage(
                first, layers, base_s, cheapest_s - base_s, ways, whole_cost_s[b, ways] - base_s,
                menu.whole_error[b, ways], max(dearest_s, float(whole_cost_s[b, ways].max(initial=0.0))),
            )
        )  # fmt: skip
    return stages

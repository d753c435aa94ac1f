"""What coding takes on this machine, on one thread and made-up gradients: measured over expected seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from kimad.coder import Bucket
from kimad.compressors import synthetic
from kimad.launch import trial
from kimad.layout import Layer, pack
from kimad.sim import Workload

ENTRIES = 4_000_000  # that are coded, at most: speed hardly depends on more
RANKS = 2  # whose frames are decoded, as the simulator takes it for a model known by name


def coding_factors(layers: Sequence[Layer]) -> dict[str, float]:
    """Factor of each operator that was tried, on the last layers of a model."""
    chosen: list[Layer] = []
    left = ENTRIES
    for layer in reversed(layers):
        if not layer.plain and layer.numel <= left:
            chosen.append(layer)
            left -= layer.numel
    if not chosen:  # all of them larger
        chosen = [Layer("part", (ENTRIES,))]
    slots = pack(chosen)
    buffer = synthetic.gradient(slots[-1].stop)
    factors = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for option in trial.OPTIONS:
            one = trial.Trial(chosen, option, RANKS)
            step = 0
            while not one.done:
                one.code([Bucket(step, 0, buffer, slots)])
                step += 1
            factors.append(one.factor())
    finally:
        torch.set_num_threads(threads)
    return trial.by_operator(factors)


def measured_here(workload: Workload) -> Workload:
    """A workload with the speed of this machine's coding."""
    return replace(workload, coding=coding_factors(workload.layers))

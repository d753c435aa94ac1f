"""What a rank owes while it trains: samples of every layer's gradient and residual, step after step.

    owed = residual + gradient;  residual = owed - what the plan sends

A sample stands for its layer: 1 % density keeps the largest 1 % of the sample. The gradient of a step is the mean of
the recorded ones plus the noise of one of them with a random sign, so that noise does not repeat from step to step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import compressor
from kimad.curves import DENSITIES, Curve, sampled_energy
from kimad.plan import Plan
from kimad.sim.workload import Workload

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]


@final
class Owed:
    """Samples of one rank, which stands for all. L layers in the model's order, padded to the longest sample."""

    def __init__(self, workload: Workload, random: np.random.Generator) -> None:
        self._layers = workload.layers
        self._random = random
        self._count = np.array([samples.shape[1] for samples in workload.gradients])
        width = int(self._count.max())
        snapshots = workload.gradients[0].shape[0]
        self._noise = np.zeros((snapshots, len(self._layers), width), np.float32)
        for i, samples in enumerate(workload.gradients):
            self._noise[:, i, : self._count[i]] = samples
        self._mean, self._noise = _steady_and_noise(self._noise)
        self._numel = np.array([layer.numel for layer in self._layers])
        self._weight = self._numel / self._count  # entries that a sample stands for
        self._residual = np.zeros_like(self._mean)
        self._gradient = self._residual
        self._owed = self._residual

    def next_step(self) -> None:
        """Add the gradient of a new step."""
        sign = self._random.choice(np.array([-1.0, 1.0], np.float32), size=(len(self._layers), 1))
        noise = self._noise[int(self._random.integers(len(self._noise)))]
        self._gradient = self._mean + sign * noise
        self._owed = self._residual + self._gradient

    def energy(self) -> Floats:
        """(L, densities): kept energy of each layer at each density, as the runtime reads it off one rank."""
        total = (self._owed.astype(np.float64) ** 2).sum(axis=1) * self._weight
        table = np.zeros((len(self._layers), len(DENSITIES)))
        for i, count in enumerate(self._count.tolist()):
            if total[i] > 0:
                table[i] = sampled_energy(self._owed[i, :count], int(self._numel[i]), float(total[i]))
        return table

    def gradient_square(self) -> Floats:
        """(L,) squared norm of each layer's gradient in this step."""
        square: Floats = (self._gradient.astype(np.float64) ** 2).sum(axis=1) * self._weight
        return square

    def send(self, plan: Plan, rank: int = -1) -> float:
        """Take off what the plan sends of a rank, -1: of those that send no less; returns the share of the energy."""
        options = plan.of(rank)
        keep = np.zeros(len(self._layers), np.int64)  # entries of the sample that are sent
        lost = np.zeros(len(self._layers))  # share of their energy that a lossy value code leaves behind
        for i, layer in enumerate(self._layers):
            option = options[layer.name]
            if layer.plain or option.operator != "drop":
                whole = layer.plain or not compressor(option.operator).sparse
                keep[i] = self._count[i] if whole else round(option.k / layer.numel * self._count[i])
                lost[i] = 0.0 if layer.plain else _lost_share(option.operator, option.values, option.k)
        owed = self._owed
        before = owed.astype(np.float64) ** 2
        sent = np.ones(owed.shape, bool)
        partly = np.flatnonzero(keep < self._count)
        if len(partly):
            magnitude = np.abs(owed[partly])
            magnitude[np.arange(owed.shape[1])[None, :] >= self._count[partly, None]] = -1.0  # padding
            order = np.sort(magnitude, axis=1)[:, ::-1]
            edge = order[np.arange(len(partly)), np.maximum(keep[partly] - 1, 0)]
            sent[partly] = (magnitude >= edge[:, None]) & (keep[partly] > 0)[:, None]
        factor = np.sqrt(lost).astype(np.float32)[:, None]
        self._residual = np.where(sent, factor * owed, owed)
        left = float(((self._residual.astype(np.float64) ** 2).sum(axis=1) * self._weight).sum())
        total = float((before.sum(axis=1) * self._weight).sum())
        return 1 - left / total if total > 0 else 1.0


@final
class OwedByAll:
    """What all ranks owe: of those that have always sent the same, one stands for the others."""

    def __init__(self, workload: Workload, random: np.random.Generator, ranks: int) -> None:
        self._alike: list[tuple[frozenset[int], Owed]] = [(frozenset(range(ranks)), Owed(workload, random))]
        self._own: frozenset[int] = frozenset()  # ranks that send less

    def next_step(self, own_ranks: Collection[int]) -> None:
        """Add the gradient of a new step, in which these ranks send less. All gradients are alike."""
        self._own = frozenset(own_ranks)
        for ranks, owed in list(self._alike):
            if ranks & self._own and ranks - self._own:
                self._alike.remove((ranks, owed))
                self._alike += [(ranks - self._own, owed), (ranks & self._own, deepcopy(owed))]
        for _, owed in self._alike:
            owed.next_step()

    def read(self) -> tuple[Floats, Floats, Floats | None]:
        """(L, densities) kept energies and (L,) those of gradients, in the mean of ranks.

        The third is (L,) what those owe that send less, None where there are none of them.
        """
        count = sum(len(ranks) for ranks, _ in self._alike)
        energy = _mean([(len(ranks) / count, owed.energy()) for ranks, owed in self._alike])
        gradient = _mean([(len(ranks) / count, owed.gradient_square()) for ranks, owed in self._alike])
        own = [(len(ranks) / len(self._own), owed.energy()[:, -1]) for ranks, owed in self._alike if ranks <= self._own]
        return energy, gradient, _mean(own) if own else None

    def send(self, plan: Plan) -> float:
        """Take off what the plan sends; returns the share of the energy that arrived, 0..1, in the mean of ranks."""
        count = sum(len(ranks) for ranks, _ in self._alike)
        shares = [(len(ranks) / count, owed.send(plan, min(ranks))) for ranks, owed in self._alike]
        return sum(weight * share for weight, share in shares)


def _mean(parts: Sequence[tuple[float, Floats]]) -> Floats:
    """Weighed mean; a single part as it is."""
    if len(parts) == 1:
        return parts[0][1]
    mean: Floats = np.sum([weight * part for weight, part in parts], axis=0)
    return mean


def _steady_and_noise(snapshots: Samples) -> tuple[Samples, Samples]:
    """(L, width) what is the same in every step, and (S, L, width) what is not; their energies add up to the recorded.

    The mean of S snapshots holds 1/S of the noise's energy. By what is expected of that the mean is made smaller, layer
    by layer, and the noise larger.
    """
    count = len(snapshots)
    mean = snapshots.mean(axis=0)
    noise = snapshots - mean
    if count < 2:
        return np.zeros_like(mean), snapshots
    mean_square = (mean.astype(np.float64) ** 2).sum(axis=1)
    noise_square = (noise.astype(np.float64) ** 2).sum(axis=2).mean(axis=0)
    steady = np.maximum(0.0, mean_square - noise_square / (count - 1))
    shrink = np.sqrt(steady / np.where(mean_square > 0, mean_square, 1.0))
    grow = np.sqrt((mean_square + noise_square - steady) / np.where(noise_square > 0, noise_square, 1.0))
    return mean * shrink[:, None].astype(np.float32), noise * grow[:, None].astype(np.float32)


def modelled(plan: Plan) -> bool:
    """Whether a sample tells what a plan keeps: of top-k, and of operators that send every entry with a small error."""
    operators = [compressor(option.operator) for option in plan.options.values()]
    known = [c.name in ("drop", "topk") or c.counts in ("", "levels") for c in operators]
    return all(known) and all(_lost_share(o.operator, o.values, o.k) < 1 or o.operator == "drop"
                              for o in plan.options.values())  # fmt: skip


@cache
def _lost_share(operator: str, values: str, k: int) -> float:
    """Share of the energy of what is sent that its code leaves behind: the error of sending everything."""
    flat = Curve(1 << 16, DENSITIES)
    counted = 1 << 16 if compressor(operator).sparse else k
    error = compressor(operator).errors(np.array([counted]), values, flat)
    return float(min(1.0, max(0.0, error[0])))

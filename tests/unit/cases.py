"""Synthetic models for the tests of the deciding half: heavy-tailed layers, their curves, menus and true costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import Option, wire_bytes
from kimad.cost import CodingCost, start_s
from kimad.curves import DENSITIES, Curve
from kimad.layout import Layer
from kimad.menu import WHOLE, Menu, MenuMaker
from kimad.plan import BFLOAT16, FLOAT32, all_reduce_bytes
from kimad.solver import Choice

Floats = NDArray[np.float64]
BPS = 30e6


def exact_curve(values: Floats) -> Curve:
    """The curve that a reading of every entry would give."""
    cumulative = np.concatenate([[0.0], np.cumsum(np.sort(values * values)[::-1])])
    return Curve(values.size, cumulative[np.ceil(DENSITIES * values.size).astype(int)])


@dataclass(frozen=True)
class Model:
    """Layers in buckets, and what is owed in each."""

    buckets: tuple[tuple[Layer, ...], ...]
    values: tuple[Floats, ...]
    curves: tuple[Curve, ...]
    maker: MenuMaker
    world_size: int

    @property
    def layers(self) -> list[Layer]:
        return [layer for bucket in self.buckets for layer in bucket]

    def menu(self, bps: float = BPS, must_send: frozenset[int] = frozenset()) -> Menu:
        return self.maker.make(bps, CodingCost(), self.curves, [i in must_send for i in range(len(self.layers))])

    def dense_s(self, bps: float = BPS) -> float:
        """Seconds that the whole gradient takes."""
        numel = sum(layer.numel for layer in self.layers)
        return all_reduce_bytes(4 * numel, self.world_size) * 8 / bps

    def options(self, choice: Choice) -> list[Option]:
        """The option of each layer that a choice stands for."""
        options = []
        for b, start in enumerate(self.maker.starts):
            for i in range(int(start), int(start) + len(self.buckets[b])):
                way = int(choice.whole[b])
                option = WHOLE[way] if way >= 0 else self.maker.options[i][int(choice.column[i])]
                options.append(replace(option, k=int(choice.k[i])) if option.k else option)
        return options

    def seconds(self, choice: Choice, bps: float = BPS) -> float:
        """Cost of a choice, from the exact bytes of its options and the start values of coding."""
        options = self.options(choice)
        total = 0.0
        for b, start in enumerate(self.maker.starts):
            bucket = self.buckets[b]
            way = int(choice.whole[b])
            numel = sum(layer.numel for layer in bucket)
            if way >= 0:
                sent = all_reduce_bytes((4, 2)[way] * numel, self.world_size)
                total += sent * 8 / bps + (start_s(BFLOAT16, numel) if WHOLE[way] != FLOAT32 else 0.0)
                continue
            for layer, option in zip(bucket, options[int(start) :], strict=False):
                sent = (self.world_size - 1) * wire_bytes(layer.shape, option)
                total += sent * 8 / bps + start_s(option, layer.numel)
        return total


@cache
def heavy_model(
    count: int, seed: int = 0, bucket_layers: int = 8, world_size: int = 2, distinct: int | None = None
) -> Model:
    """Layers of 256 to 200,000 entries with Student-t(3) values and scales spread over 100x.

    distinct: so many layers are drawn, and repeated with scales of their own.
    """
    rng = np.random.default_rng(seed)
    drawn = distinct or count
    sizes = np.exp(rng.uniform(np.log(256), np.log(200_000), drawn)).astype(int)
    scales = np.exp(rng.uniform(np.log(0.01), 0, count))
    values = [rng.standard_t(3, n) for n in sizes]
    curves = [exact_curve(v) for v in values]
    layers = [Layer(f"layer{i}.weight", (int(sizes[i % drawn]),)) for i in range(count)]
    buckets = tuple(tuple(layers[at : at + bucket_layers]) for at in range(0, count, bucket_layers))
    return Model(
        buckets,
        tuple(scales[i] * values[i] for i in range(count)) if distinct is None else (),
        tuple(Curve(curves[i % drawn].numel, scales[i] ** 2 * curves[i % drawn].energy) for i in range(count)),
        MenuMaker(buckets, world_size),
        world_size,
    )

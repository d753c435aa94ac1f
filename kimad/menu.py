"""The menu: for every layer all ways to send it, with seconds and squared error of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import Option, compressor, wire_bytes
from kimad.cost import CodingCost, start_s
from kimad.curves import DENSITIES, Curve
from kimad.errors import ConfigError
from kimad.layout import Layer
from kimad.patterns import NOTHING, ByName
from kimad.plan import BFLOAT16, FLOAT32, WHOLE_OPERATORS, all_reduce_bytes, frame_copies

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What is worth offering. Four bits or one bit for every entry gain 0 to 7 % of squared error at equal bytes on what a
# ResNet-18 owes, at one of eight budgets more (`python -m benchmarks.menu`), and nothing on its gradient; the others
# cost more for the same error. Sparse operators with each density and these value codes.
OFFERED = ("drop", "topk", "int8", "bfloat16", "float32")
SPARSE_VALUES = ("log4", "int8")
MAX_DENSITY = 0.9  # of sparse options: all entries in 4 bits would seem to lose no more than the largest ones do
MIN_SPARSE_NUMEL = 1024  # smaller layers go whole or not at all: choosing among their entries does not pay
WHOLE = (FLOAT32, BFLOAT16)  # what a whole bucket can travel as, by all-reduce


@final
@dataclass(frozen=True)
class Column:
    """One way to send, the same for every layer."""

    operator: str
    values: str = ""
    density: float = 0.0  # sparse operators alone


def columns(offered: Sequence[str] = OFFERED, grid: Floats = DENSITIES) -> tuple[Column, ...]:
    """All columns of these operators; those of one sparse family stand together, by rising density."""
    out: list[Column] = []
    for c in map(compressor, offered):
        if c.sparse:
            densities = [float(d) for d in grid if d <= MAX_DENSITY]
            out += [Column(c.name, v, d) for v in SPARSE_VALUES if v in c.value_codes for d in densities]
        else:
            out.append(Column(c.name))
    return tuple(out)


@final
@dataclass(frozen=True)
class Menu:
    """What the solver chooses from. L layers in bucket order, K columns, B buckets, A ways for a whole bucket.

    Squared errors and norms are each layer's times its weight.
    """

    link_s: Floats  # (L, K) seconds on the link
    coding_s: Floats  # (L, K) seconds of encoding and decoding
    error: Floats  # (L, K) squared error; inf where a column is not allowed
    k: Ints  # (L, K) kept entries, 0 for dense operators
    starts: Ints  # (B,) first layer of each bucket
    whole_link_s: Floats  # (B, A)
    whole_coding_s: Floats  # (B, A)
    whole_error: Floats  # (B, A)
    total: float  # squared norm of everything owed
    next_column: Ints  # (K,) the column with the next density of the same family, or -1
    dense: NDArray[np.bool_]  # (K,) columns that carry every entry
    seconds: Callable[[int, int, int], tuple[float, float]]  # layer, column, any k -> seconds on the link, of coding
    ready_s: Floats | None = None  # (B,) s from a step's start until each bucket is ready; None: all at once

    @property
    def cost_s(self) -> Floats:
        """(L, K) seconds of coding and sending."""
        return self.link_s + self.coding_s


@final
class MenuMaker:
    """Knows the sizes, which never change; makes a Menu from a rate and the curves."""

    def __init__(
        self,
        buckets: Sequence[Sequence[Layer]],
        world_size: int,
        exchange: str = "all-gather",
        offered: Sequence[str] = OFFERED,
        named: ByName = NOTHING,
        grid: Floats = DENSITIES,  # of sparse options
    ) -> None:
        self.layers = [layer for bucket in buckets for layer in bucket]
        self.columns = columns(offered, grid)
        self._copies = frame_copies(world_size, exchange)
        counts = [len(bucket) for bucket in buckets]
        self.starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        self.options = [[self._option(layer, column) for column in self.columns] for layer in self.layers]
        self._wire = np.array(
            [[wire_bytes(la.shape, o) for o in row] for la, row in zip(self.layers, self.options, strict=True)],
            np.float64,
        )
        plain = np.array([layer.plain for layer in self.layers])
        whole = np.array([all_reduce_bytes(layer.nbytes, world_size) for layer in self.layers], np.float64)
        self._wire[plain] = whole[plain, None] / self._copies  # whatever is chosen
        self._k = np.array([[o.k for o in row] for row in self.options], np.int64)
        self._start_s = np.array(
            [[start_s(o, la.numel) for o in row] for la, row in zip(self.layers, self.options, strict=True)]
        )
        self._start_s[plain] = 0.0
        small = np.array([layer.numel < MIN_SPARSE_NUMEL or layer.plain for layer in self.layers])
        sparse = np.array([c.density > 0 for c in self.columns])
        self._banned = small[:, None] & sparse[None, :]
        self._keep_whole(named)
        self._weight = np.array([named.weight.get(layer.name, 1.0) for layer in self.layers])
        self._drop = np.array([c.operator == "drop" for c in self.columns])
        self._dense = ~sparse & ~self._drop
        follows = [a.operator == b.operator and b.density > a.density > 0 and a.values == b.values
                   for a, b in zip(self.columns, self.columns[1:], strict=False)]  # fmt: skip
        self._next = np.array([j + 1 if f else -1 for j, f in enumerate([*follows, False])], np.int64)
        self._curves: Sequence[Curve] = ()
        self._error = self._owed = np.empty(0)
        even = Curve(1, np.ones(len(DENSITIES)))
        self._whole_error = np.array([0.0, float(compressor("bfloat16").errors(np.array([1]), "", even)[0])])
        numel = [sum(layer.numel for layer in bucket if not layer.plain) for bucket in buckets]
        fixed = [sum(layer.nbytes for layer in bucket if layer.plain) for bucket in buckets]
        self._whole_wire = np.array(
            [[all_reduce_bytes(n * b + f, world_size) for b in (4, 2)] for n, f in zip(numel, fixed, strict=True)],
            np.float64,
        )
        self._whole_start_s = np.array([[0.0, start_s(BFLOAT16, n) if n else 0.0] for n in numel])

    def _keep_whole(self, named: ByName) -> None:
        """Leave layers that always travel whole no other column. Raises ConfigError if that leaves them none at all."""
        whole = [column.operator in WHOLE_OPERATORS for column in self.columns]
        for i, layer in enumerate(self.layers):
            if layer.name in named.dense:
                self._banned[i] = np.logical_not(whole)
                if not any(whole):
                    offered = ", ".join(dict.fromkeys(column.operator for column in self.columns))
                    raise ConfigError(
                        f"dense names {layer.name}, and the menu leaves it nothing: it offers {offered}; "
                        f"a layer that travels whole needs one of {', '.join(WHOLE_OPERATORS)}"
                    )

    @staticmethod
    def _option(layer: Layer, column: Column) -> Option:
        if column.density > 0:
            return Option(column.operator, int(np.ceil(column.density * layer.numel)), column.values)
        return Option(column.operator)

    def link_s(self, wire: float, bps: float) -> float:
        """Seconds that a frame of `wire` bytes takes to reach every other rank."""
        return self._copies * wire * 8 / bps

    def make(
        self, bps: float, coding: CodingCost, curves: Sequence[Curve], must_send: Sequence[bool],
        least_share: Floats | None = None, ready_s: Floats | None = None,
    ) -> Menu:  # fmt: skip
        """The menu at a link rate in bit/s; layers in `must_send` may not be dropped.

        least_share: (L,) share of what each layer owes that must be sent of it, 0 where nothing must.
        A layer whose curve is not finite counts as one without energy: nothing is known of it.
        """
        factor = np.array([coding.factor[c.operator] for c in self.columns])
        if curves is not self._curves:  # they change far less often than the link
            known = [c if np.isfinite(c.energy).all() else Curve(c.numel, np.zeros(len(DENSITIES))) for c in curves]
            self._curves, self._error = curves, np.where(self._banned, np.inf, self._errors(known))
            self._owed = np.array([c.total for c in known])
        error = self._error.copy()
        error[np.ix_(np.asarray(must_send, bool), self._drop)] = np.inf
        if least_share is not None and least_share.any():
            most = np.where(least_share > 0, (1 - least_share) * self._owed, np.inf)
            error[error > most[:, None]] = np.inf
        error *= self._weight[:, None]
        total = self._owed * self._weight
        whole_error = np.add.reduceat(total, self.starts)[:, None] * self._whole_error

        def seconds(layer: int, column: int, k: int) -> tuple[float, float]:
            option, shape = replace(self.options[layer][column], k=k), self.layers[layer].shape
            coding_s = start_s(option, self.layers[layer].numel) * float(factor[column])
            return self.link_s(wire_bytes(shape, option), bps), coding_s

        return Menu(
            link_s=self._copies * self._wire * (8 / bps),
            coding_s=self._start_s * factor,
            error=error,
            k=self._k,
            starts=self.starts,
            whole_link_s=self._whole_wire * (8 / bps),
            whole_coding_s=self._whole_start_s * np.array([1.0, coding.factor["bfloat16"]]),
            whole_error=whole_error,
            total=float(total.sum()),
            next_column=self._next,
            dense=self._dense,
            seconds=seconds,
            ready_s=ready_s,
        )

    def left(self, menu: Menu, column: Ints, whole: Ints) -> Floats:
        """(L,) share of what each layer owes that a choice of the latest menu leaves behind."""
        rows = np.arange(len(column))
        owed = self._owed * self._weight
        left = np.divide(menu.error[rows, column], owed, out=np.zeros(len(rows)), where=owed > 0)
        in_frames = np.repeat(whole < 0, np.diff(np.append(self.starts, len(rows))))
        return np.where(in_frames, np.minimum(left, 1.0), 0.0)

    def _errors(self, curves: Sequence[Curve]) -> Floats:
        error = np.empty(self._wire.shape)
        families: dict[tuple[str, str], list[int]] = {}
        for j, column in enumerate(self.columns):
            families.setdefault((column.operator, column.values), []).append(j)
        for i, curve in enumerate(curves):
            for (operator, values), where in families.items():
                if self._banned[i, where[0]]:
                    continue  # of no use, and most layers are small
                error[i, where] = compressor(operator).errors(self._k[i, where], values, curve)
        return error

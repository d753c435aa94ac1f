"""Inputs that every operator must survive, and the options to try on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isqrt
from typing import final

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Compressor, Option, compressor, decode, encode, kernels, wire_bytes

Floats = NDArray[np.float32]

DERANDOMIZED = settings(derandomize=True, deadline=None, max_examples=60)
LENGTHS = (0, 1, 2, 7, 127, 128, 129, 255, 256, 257, 1021, 4095, 4096, 4097, 9973)
TINY = float(np.finfo(np.float32).tiny)
SMALL = 128 * TINY  # a block of 256 whose largest is below this has a denormal scale, and counts as zero
EACH_OPERATOR = pytest.mark.parametrize("operator", ALL_COMPRESSORS, ids=lambda operator: operator.name)
BUILT = pytest.mark.skipif(not kernels.compiled(), reason="no C compiler when Kimad was installed")


def _ties(rng: np.random.Generator, n: int) -> Floats:
    return rng.choice(np.array([-2, -1, 1, 2], np.float32), n)


def _spike(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    values = rng.standard_normal(n) * 1e-3
    if n:
        values[rng.integers(n)] = -1e15
    return values


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[np.floating]]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy": lambda rng, n: rng.standard_t(2, n),
    "zeros": lambda rng, n: np.zeros(n),
    "sparse": lambda rng, n: np.where(rng.random(n) < 0.02, rng.standard_normal(n), 0),
    "ties": _ties,
    "equal": lambda rng, n: np.full(n, -0.125),
    "spike": _spike,
    "denormal": lambda rng, n: rng.standard_normal(n) * 1e-40,
    "huge": lambda rng, n: np.clip(rng.standard_normal(n), -3, 3) * 1e30,
    "largest": lambda rng, n: np.sign(rng.standard_normal(n)) * float(np.finfo(np.float32).max),
    "tiny": lambda rng, n: rng.standard_normal(n) * 1e-30,
    "spread": lambda rng, n: np.sign(rng.standard_normal(n)) * 10.0 ** rng.uniform(-37, 18, n),
}


def sample(kind: str, n: int, seed: int) -> Tensor:
    """`n` float32 values of one kind."""
    return torch.from_numpy(KINDS[kind](np.random.default_rng(seed), n).astype(np.float32))


def options(operator: Compressor, n: int) -> list[Option]:
    """Every way to use an operator on `n` entries: all value codes, several numbers of what it counts."""
    counted = {
        "": [0],
        "entries": sorted({0, min(1, n), n // 100, n // 3, max(n - 1, 0), n}),
        "levels": [1, 3, 7, 15, 127],
        "rank": [1, 2, 4],
    }[operator.counts]
    thresholds = (0.0, 1e-3) if operator.name == "threshold" else (0.0,)
    return [Option(operator.name, k, v, t) for k in counted for v in operator.value_codes for t in thresholds]


def some_options(operator: Compressor, n: int, turn: int, count: int = 6) -> list[Option]:
    """About `count` of them; other `turn`s give others, and together they give all."""
    everything = options(operator, n)
    step = max(1, len(everything) // count)
    return everything[turn % step :: step]


def any_option(operator: Compressor, n: int) -> Option:
    """One way to use an operator, which sends something if there is something."""
    return Option(operator.name, n if operator.sparse else 1 if operator.counts else 0, operator.value_codes[0])


def shape_of(n: int) -> tuple[int, int]:
    """As square a matrix of `n` entries as there is: what low rank is tried on. Other operators do not care."""
    rows = next((r for r in range(isqrt(n), 0, -1) if n % r == 0), 1)
    return rows, n // rows


def keeps_zeros(option: Option) -> bool:
    """Whether a value that is exactly 0 is decoded as 0.

    Sign has no zero, and neither have the value codes sign and log4: they give it a small magnitude. Low rank has
    products in place of entries, unless the tensor travels whole.
    """
    return option.operator not in ("sign", "lowrank") and option.values not in ("sign", "log4")


def exact(option: Option) -> bool:
    """Whether what is decoded is either the value or 0."""
    return option.operator in ("drop", "float32") or (compressor(option.operator).sparse and option.values == "float32")


def is_seeded(option: Option) -> bool:
    """Whether other keys give other frames: rounding at random, random places, or a random start."""
    operator = compressor(option.operator)
    return operator.name == "lowrank" or operator.promise((1000,), option).expected


def frame_of(values: Tensor, option: Option, key: int = 0, warm: Tensor | None = None) -> Tensor:
    """Encode into a buffer with a guard behind it, and check what `encode` promises about sizes."""
    shape = shape_of(values.numel())
    size = wire_bytes(shape, option)
    out = torch.full((size + 9,), 0xA5, dtype=torch.uint8)
    before = values.clone()
    assert encode(values, option, out, shape=shape, key=key, warm=warm) == size
    assert torch.equal(out[size:], torch.full((9,), 0xA5, dtype=torch.uint8)), "wrote behind the frame"
    assert torch.equal(values, before), "changed its input"
    return out[:size].clone()


def decoded(frame: Tensor, n: int) -> Tensor:
    """What the frame carries."""
    out = torch.zeros(n)
    decode(frame, out)
    return out


def energy(values: Tensor) -> float:
    """Squared norm, in double precision."""
    return float((values.double() ** 2).sum())


def lost(values: Tensor, carried: Tensor) -> float:
    """Squared error."""
    return energy(values.double() - carried.double())


@final
class Exact:
    """The error curve of a tensor, from all of its entries."""

    def __init__(self, values: Tensor) -> None:
        squares = np.sort(values.double().numpy() ** 2)[::-1]
        self._sums = np.concatenate([[0.0], np.cumsum(squares)])

    @property
    def numel(self) -> int:
        return self._sums.size - 1

    @property
    def total(self) -> float:
        return float(self._sums[-1])

    def kept(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self._sums[k], np.float64)


inputs = st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(LENGTHS), st.integers(0, 2**16)).map(
    lambda drawn: sample(*drawn)
)
turns = st.integers(0, 59)


@contextmanager
def numpy_alone() -> Iterator[None]:
    """As where there was no compiler."""
    before = kernels._enabled
    kernels._enabled = False
    try:
        yield
    finally:
        kernels._enabled = before

"""Inputs that every operator must survive, and the options to try on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Option, decode, encode, wire_bytes

Floats = NDArray[np.float32]

DERANDOMIZED = settings(derandomize=True, deadline=None, max_examples=60)
LENGTHS = (0, 1, 2, 7, 127, 128, 129, 255, 256, 257, 1021, 4095, 4096, 4097, 9973)


def _ties(rng: np.random.Generator, n: int) -> Floats:
    return rng.choice(np.array([-2, -1, 1, 2], np.float32), n)


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[np.floating]]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy": lambda rng, n: rng.standard_t(2, n),
    "zeros": lambda rng, n: np.zeros(n),
    "sparse": lambda rng, n: np.where(rng.random(n) < 0.02, rng.standard_normal(n), 0),
    "ties": _ties,
    "equal": lambda rng, n: np.full(n, -0.125),
    "denormal": lambda rng, n: rng.standard_normal(n) * 1e-40,
    "huge": lambda rng, n: np.clip(rng.standard_normal(n), -3, 3) * 1e30,
    "largest": lambda rng, n: np.sign(rng.standard_normal(n)) * float(np.finfo(np.float32).max),
    "tiny": lambda rng, n: rng.standard_normal(n) * 1e-30,
    "spread": lambda rng, n: np.sign(rng.standard_normal(n)) * 10.0 ** rng.uniform(-37, 18, n),
}


def sample(kind: str, n: int, seed: int) -> Tensor:
    """`n` float32 values of one kind."""
    return torch.from_numpy(KINDS[kind](np.random.default_rng(seed), n).astype(np.float32))


def options(n: int) -> Iterator[Option]:
    """Every operator and value code, sparse ones with several k."""
    for operator in ALL_COMPRESSORS:
        for values in operator.value_codes:
            for k in sorted({0, min(1, n), n // 100, n // 3, max(n - 1, 0), n}) if operator.sparse else [0]:
                yield Option(operator.name, k, values)


def frame_of(values: Tensor, option: Option, key: int = 0) -> Tensor:
    """Encode into a buffer with a guard behind it, and check what `encode` promises about sizes."""
    size = wire_bytes(values.shape, option)
    out = torch.full((size + 9,), 0xA5, dtype=torch.uint8)
    before = values.clone()
    assert encode(values, option, out, key=key) == size
    assert torch.equal(out[size:], torch.full((9,), 0xA5, dtype=torch.uint8)), "wrote behind the frame"
    assert torch.equal(values, before), "changed its input"
    return out[:size].clone()


def decoded(frame: Tensor, n: int) -> Tensor:
    """What the frame carries."""
    out = torch.zeros(n)
    decode(frame, out)
    return out


inputs = st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(LENGTHS), st.integers(0, 2**16)).map(
    lambda drawn: sample(*drawn)
)

"""Low rank: power iterations that go on from frame to frame, and what a frame before may be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import Option, TensorError, decode, encode, encode_owed, wire_bytes
from tests.compressors.cases import TINY, decoded, energy, lost

ROWS, COLUMNS = 48, 80
N = ROWS * COLUMNS


def matrix(seed: int = 0, scale: float = 1.0) -> Tensor:
    """Flat; its singular values fall as 1, 1/2, 1/3, ..., which low rank gets only nearly right at once."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((ROWS, ROWS)))
    right, _ = np.linalg.qr(rng.standard_normal((COLUMNS, ROWS)))
    full = left / np.arange(1, ROWS + 1) @ right.T
    return torch.from_numpy((full * scale).astype(np.float32).ravel())


def frame(values: Tensor, option: Option, shape: tuple[int, ...], warm: Tensor | None = None, key: int = 0) -> Tensor:
    out = torch.empty(wire_bytes(shape, option), dtype=torch.uint8)
    encode(values, option, out, shape=shape, key=key, warm=warm)
    return out


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("code", ["float32", "bfloat16"])
def test_warm_frames_come_near_the_best_approximation(code: str, rank: int, scale: float) -> None:
    values = matrix(0, scale)
    squares = 1 / np.arange(1.0, ROWS + 1) ** 2
    best = float(squares[rank:].sum() / squares.sum())
    warm, errors = None, []
    for _ in range(12):
        warm = frame(values, Option("lowrank", rank, code), (ROWS, COLUMNS), warm)
        errors.append(lost(values, decoded(warm, N)) / energy(values))
    slack = 1e-6 if code == "float32" else 1e-3
    assert errors[0] > 1.05 * best
    assert errors[-1] <= 1.01 * best + slack
    assert all(later <= earlier + slack for earlier, later in pairwise(errors))
    assert min(errors) >= best * (1 - 1e-5)  # nothing of this rank is better


def test_an_exact_product_is_found_at_once() -> None:
    rng = np.random.default_rng(3)
    values = torch.from_numpy((rng.standard_normal((ROWS, 2)) @ rng.standard_normal((2, COLUMNS))).astype(np.float32))
    found = decoded(frame(values.ravel(), Option("lowrank", 2, "float32"), (ROWS, COLUMNS)), N)
    assert lost(values.ravel(), found) < 1e-10 * energy(values)


def test_layers_that_were_zero_come_back() -> None:
    option, shape = Option("lowrank", 2, "float32"), (ROWS, COLUMNS)
    warm = frame(matrix(), option, shape)
    for _ in range(20):
        warm = frame(torch.zeros(N), option, shape, warm)
        assert not decoded(warm, N).any()
    values = matrix(5)
    warm = frame(values, option, shape, warm, key=9)
    first = decoded(warm, N)
    assert bool(torch.isfinite(first).all())
    assert 0.1 * energy(values) < energy(first)
    assert lost(values, first) < 0.9 * energy(values)
    second = frame(values, option, shape, warm)
    assert lost(values, decoded(second, N)) < lost(values, first)


def test_a_matrix_of_one_column_that_matters_takes_all_ranks() -> None:
    """Columns of the basis that carry nothing start again at random, so that they are there when they are needed."""
    option, shape = Option("lowrank", 4, "float32"), (ROWS, COLUMNS)
    single = torch.zeros(ROWS, COLUMNS)
    single[:, 3] = torch.arange(ROWS) + 1.0
    warm = frame(single.ravel(), option, shape)
    for _ in range(4):
        warm = frame(single.ravel(), option, shape, warm)
    assert lost(single.ravel(), decoded(warm, N)) < 1e-10 * energy(single)
    values = matrix(5)
    for _ in range(8):
        warm = frame(values, option, shape, warm)
    squares = 1 / np.arange(1.0, ROWS + 1) ** 2
    assert lost(values, decoded(warm, N)) / energy(values) < 1.1 * float(squares[4:].sum() / squares.sum())


@pytest.mark.parametrize(
    ("shape", "rank"),
    [((60,), 1), ((), 1), ((1, 60), 1), ((60, 1), 4), ((5, 12), 5), ((5, 12), 99), ((4, 4), 2), ((0,), 1), ((0, 5), 2)],
)
def test_what_is_no_larger_than_its_factors_travels_whole(shape: tuple[int, ...], rank: int) -> None:
    values = torch.arange(float(np.prod(shape)))
    found = frame(values, Option("lowrank", rank, "float32"), shape)
    assert found.numel() == 16 + 4 + 4 * values.numel()
    assert torch.equal(decoded(found, values.numel()), values)


def test_the_first_dimension_is_rows() -> None:
    """A convolution's kernel of (48, 8, 5, 2) is a matrix of 48 rows and 80 columns."""
    option = Option("lowrank", 2, "float32")
    assert torch.equal(frame(matrix(), option, (ROWS, 8, 5, 2)), frame(matrix(), option, (ROWS, COLUMNS)))
    assert wire_bytes((ROWS, 8, 5, 2), option) == 16 + 4 + 4 * 2 * (ROWS + COLUMNS)
    assert wire_bytes((COLUMNS, ROWS), option) == wire_bytes((ROWS, COLUMNS), option)


OPTION = Option("lowrank", 2, "float32")
GOOD = frame(matrix(1), OPTION, (ROWS, COLUMNS))


def broken(at: int, byte: int) -> Tensor:
    copy = GOOD.clone()
    copy[at] = byte
    return copy


@pytest.mark.parametrize(
    "warm",
    [
        GOOD[:-1],
        GOOD[:10],
        torch.empty(0, dtype=torch.uint8),
        torch.cat([GOOD, torch.zeros(4, dtype=torch.uint8)]),
        frame(torch.ones(N + COLUMNS), OPTION, (ROWS + 1, COLUMNS)),
        frame(matrix(1), Option("lowrank", 1, "float32"), (ROWS, COLUMNS)),
        frame(matrix(1), Option("int8"), (ROWS, COLUMNS)),
        broken(0, 0),
        broken(2, 9),
        broken(4, 77),
        broken(12, 3),
        torch.cat([GOOD[:-4], torch.tensor([0, 0, 192, 127], dtype=torch.uint8)]),  # NaN
    ],
    ids=["cut", "short", "empty", "long", "matrix", "rank", "operator", "magic", "version", "code", "count", "nan"],
)
def test_a_frame_before_that_does_not_fit_is_ignored(warm: Tensor) -> None:
    values = matrix(1)
    assert torch.equal(frame(values, OPTION, (ROWS, COLUMNS), warm), GOOD)
    assert not torch.equal(frame(values, OPTION, (ROWS, COLUMNS), GOOD), GOOD)  # one that fits is not


def test_the_frame_before_may_be_of_the_other_value_code() -> None:
    values = matrix(1)
    other = Option("lowrank", 2, "bfloat16")
    cold = decoded(frame(values, other, (ROWS, COLUMNS)), N)
    assert lost(values, decoded(frame(values, other, (ROWS, COLUMNS), GOOD), N)) < lost(values, cold)


def test_the_frame_before_is_a_flat_uint8_tensor() -> None:
    with pytest.raises(TensorError, match=r"warm is a torch\.float32 tensor"):
        frame(matrix(1), OPTION, (ROWS, COLUMNS), torch.zeros(5))


def test_a_warm_residual_is_the_same_bits_as_three_steps() -> None:
    values, gradient = matrix(1), matrix(2)
    stepwise = values + gradient
    expected = frame(stepwise, OPTION, (ROWS, COLUMNS), GOOD, key=3)
    decode(expected, stepwise, -1.0)
    residual, out = values.clone(), torch.empty_like(expected)
    encode_owed(residual, gradient, OPTION, out, shape=(ROWS, COLUMNS), warm=GOOD, key=3)
    assert torch.equal(out, expected)
    assert torch.equal(residual, stepwise)


def test_error_feedback_sends_everything_in_the_end() -> None:
    """A fixed gradient over many steps: what was decoded is what was put in, but for a small residual."""
    gradient, residual, received = matrix(1), torch.zeros(N), torch.zeros(N)
    warm: Tensor | None = None
    steps = 60
    for _ in range(steps):
        out = torch.empty(wire_bytes((ROWS, COLUMNS), OPTION), dtype=torch.uint8)
        encode_owed(residual, gradient, OPTION, out, shape=(ROWS, COLUMNS), warm=warm)
        decode(out, received)
        warm = out
    assert torch.allclose(received + residual, steps * gradient, atol=1e-4)
    assert energy(residual / steps) < 0.2 * energy(gradient)


@pytest.mark.parametrize("scale", [TINY, 1e-44, 1e37])
def test_the_ends_of_float32(scale: float) -> None:
    values = matrix(1, scale)
    warm = None
    for _ in range(3):
        warm = frame(values, OPTION, (ROWS, COLUMNS), warm)
        found = decoded(warm, N)
        assert bool(torch.isfinite(found).all())
        assert energy(values - found) <= energy(values) * 1.01 + N * TINY**2

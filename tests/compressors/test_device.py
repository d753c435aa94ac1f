"""The torch code for devices does what the numpy code does, bit for bit: on CPU tensors, and on CUDA if it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import (
    ALL_COMPRESSORS,
    Compressor,
    Option,
    TensorError,
    blocks,
    compressor,
    decode,
    device_blocks,
    device_codes,
    device_dense,
    device_sparse,
    encode,
    encode_owed,
    select,
    wire_bytes,
)
from kimad.compressors.dense import DenseCompressor
from tests.compressors.cases import EACH_OPERATOR, KINDS, energy, sample, some_options
from tests.compressors.on_device import KEY, NO_CUDA, ON_EACH_DEVICE, added, bits, one_option, written

pytestmark = pytest.mark.torch


def check_same(values: Tensor, gradient: Tensor, option: Option, on: str) -> None:
    """Frame, residual and sum are those of the numpy code."""
    size = wire_bytes(tuple(values.shape), option)
    frame, plain = torch.empty(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
    residual = values.clone()
    encode_owed(residual, gradient, option, frame, key=KEY)
    found, left = written(values, gradient, option, on)
    assert torch.equal(found, frame), option
    assert bits(left) == bits(residual), option
    encode(values, option, plain, key=KEY)
    found, left = written(values, None, option, on)
    assert torch.equal(found, plain), option
    assert bits(left) == bits(values), "changed its input"
    for scale in (1.0, -1.0, 1 / 3):
        total = gradient.clone()
        decode(frame, total, scale)
        assert bits(added(frame, gradient, scale, on)) == bits(total), (option, scale)


@ON_EACH_DEVICE
@pytest.mark.parametrize("n", [0, 1, 7, 255, 257, 4097, 9973])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_bytes_as_numpy(kind: str, n: int, on: str) -> None:
    """A tensor without a shape travels whole with low rank, so that its frames are the same too."""
    values, gradient = sample(kind, n, 1), sample("normal", n, 2) * 1e-3
    for operator in ALL_COMPRESSORS:
        for option in some_options(operator, n, n + len(kind)):
            check_same(values, gradient, option, on)


@ON_EACH_DEVICE
@EACH_OPERATOR
def test_same_bytes_in_several_steps(operator: Compressor, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_dense, "AT_ONCE", 2)
    n = 4 * operator.chunk + 301 if isinstance(operator, DenseCompressor) else 200_003
    check_same(sample("heavy", n, 3), sample("normal", n, 4), one_option(operator, n // 100), on)


@ON_EACH_DEVICE
@EACH_OPERATOR
def test_same_bytes_without_torch_code(operator: Compressor, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that has none works on copies."""
    monkeypatch.setattr(device_codes, "CODES", {})
    monkeypatch.setattr(device_dense, "CODES", {})
    monkeypatch.setattr(device_sparse, "CHOOSERS", {})
    check_same(sample("heavy", 1000, 3), sample("normal", 1000, 4), one_option(operator), on)


def test_every_operator_has_torch_code() -> None:
    dense = {operator.name for operator in ALL_COMPRESSORS if isinstance(operator, DenseCompressor)}
    assert set(device_codes.CODES) == dense
    assert set(device_sparse.CHOOSERS) == {operator.name for operator in ALL_COMPRESSORS if operator.sparse}


@ON_EACH_DEVICE
@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "sparse", "denormal"])
def test_the_same_entries_are_selected(kind: str, on: str) -> None:
    for n in (1, 100, 4096, 20_011):
        values = sample(kind, n, 5)
        for k in {1, max(1, n // 10), max(1, n - 1), n}:
            expected, _ = select.select(values.numpy(), k)
            assert device_sparse.select(values.to(on).abs(), k).tolist() == expected.tolist(), (n, k)


@ON_EACH_DEVICE
@pytest.mark.parametrize("width", [1, 32, 256])
def test_sums_are_taken_in_the_same_order(width: int, on: str) -> None:
    values = sample("spread", 123 * width, 6)
    expected = blocks.sums(values.numpy().copy().reshape(-1, width))
    assert bits(device_blocks.sums(values.to(on).view(-1, width)).cpu()) == expected.view(np.int32).tolist()


@ON_EACH_DEVICE
@pytest.mark.parametrize("values", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(37, 53, 1), (37, 53, 4), (200, 3, 2), (16, 9000, 5)])
def test_low_rank_keeps_its_promises(rows: int, columns: int, rank: int, values: str, on: str) -> None:
    """Products round differently on every device: frames are not compared, what is made of them is."""
    shape, option = (rows, columns), Option("lowrank", rank, values)
    residual, gradient = sample("heavy", rows * columns, 7), sample("normal", rows * columns, 8)
    frame, left = written(residual, gradient, option, on, shape)
    carried = torch.zeros(rows * columns)
    decode(frame, carried)
    owed = residual + gradient
    assert bits(left) == bits(owed - carried)
    assert energy(left) <= compressor("lowrank").promise(shape, option).error * energy(owed)
    for scale in (1.0, -1.0, 1 / 3):
        total = gradient.clone()
        decode(frame, total, scale)
        assert bits(added(frame, gradient, scale, on)) == bits(total)


@ON_EACH_DEVICE
def test_low_rank_is_as_good_as_in_numpy_and_better_from_a_warm_start(on: str) -> None:
    shape, option = (60, 80), Option("lowrank", 3, "float32")
    matrix = sample("normal", 4800, 9)
    losses = []
    warm: Tensor | None = None
    for _ in range(5):
        warm, _ = written(matrix, None, option, on, shape, warm)
        carried = torch.zeros(4800)
        decode(warm, carried)
        losses.append(energy(matrix - carried))
    assert losses[-1] < losses[0]
    cold = torch.empty(wire_bytes(shape, option), dtype=torch.uint8)
    encode(matrix, option, cold, shape=shape, key=KEY)
    carried = torch.zeros(4800)
    decode(cold, carried)
    assert losses[0] == pytest.approx(energy(matrix - carried), rel=1e-4)


@ON_EACH_DEVICE
@pytest.mark.parametrize("kind", ["zeros", "huge", "largest", "denormal", "tiny"])
def test_low_rank_of_extreme_values_is_finite(kind: str, on: str) -> None:
    shape = (30, 50)
    frame, _ = written(sample(kind, 1500, 10), None, Option("lowrank", 2, "float32"), on, shape)
    carried = torch.zeros(1500)
    decode(frame, carried)
    assert bool(torch.isfinite(carried).all())


@NO_CUDA
@EACH_OPERATOR
def test_the_four_functions_take_tensors_on_cuda(operator: Compressor) -> None:
    option = one_option(operator)
    values, gradient = sample("heavy", 1000, 14), sample("normal", 1000, 15)
    size = wire_bytes((1000,), option)
    expected, left = torch.empty(size, dtype=torch.uint8), values.clone()
    encode_owed(left, gradient, option, expected, key=KEY)
    residual, out = values.cuda(), torch.empty(size, dtype=torch.uint8, device="cuda")
    assert encode_owed(residual, gradient.cuda(), option, out, key=KEY) == size
    assert torch.equal(out.cpu(), expected)
    assert bits(residual.cpu()) == bits(left)
    decode(out, residual)
    decode(expected, left)
    assert bits(residual.cpu()) == bits(left)
    with pytest.raises(TensorError, match="on cpu"):
        encode(values.cuda(), option, torch.empty(9999, dtype=torch.uint8))
    with pytest.raises(TensorError, match="on cuda"):
        decode(out, values)

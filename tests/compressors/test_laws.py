"""Laws that hold for every operator in ALL_COMPRESSORS, every value code and every input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Option, compressor, decode, encode, wire_bytes
from tests.compressors.cases import DERANDOMIZED, KINDS, LENGTHS, decoded, frame_of, inputs, options, sample

TINY = float(np.finfo(np.float32).tiny)


def energy(values: Tensor) -> float:
    return float((values.double() ** 2).sum())


@DERANDOMIZED
@given(inputs, st.sampled_from([1.0, -1.0, 0.25, 1 / 3, 0.0]))
def test_decode_adds_the_scaled_values(values: Tensor, scale: float) -> None:
    base = torch.linspace(-1, 1, values.numel())
    for option in options(values.numel()):
        frame = frame_of(values, option)
        out = base.clone()
        decode(frame, out, scale)
        carried = decoded(frame, values.numel()).numpy()
        expected = base.numpy() + np.float32(scale) * carried
        assert np.array_equal(out.numpy(), expected), option


@DERANDOMIZED
@given(inputs)
def test_residual_and_decoded_are_the_values(values: Tensor) -> None:
    for option in options(values.numel()):
        frame = frame_of(values, option)
        residual = values.clone()
        decode(frame, residual, -1.0)
        back = residual.clone()
        decode(frame, back, 1.0)
        if option.values == "float32" or option.operator in ("drop", "float32"):
            assert torch.equal(back, values), option
            continue
        largest = np.maximum(values.abs().numpy(), decoded(frame, values.numel()).abs().numpy())
        gap = np.abs(back.double().numpy() - values.double().numpy())
        assert (gap <= np.spacing(np.nextafter(largest, np.float32(0)))).all(), option


@DERANDOMIZED
@given(inputs)
def test_contraction(values: Tensor) -> None:
    """||v - C(v)||^2 <= ||v||^2, and <= (1 - k/n) ||v||^2 for exact top-k."""
    n = values.numel()
    for option in options(n):
        lost = energy(values.double() - decoded(frame_of(values, option), n).double())
        bound = energy(values)
        if option.values == "float32" and n:
            bound *= 1 - option.k / n
        assert lost <= bound * (1 + 1e-9) + n * TINY**2, option


@DERANDOMIZED
@given(inputs)
def test_decoded_values_are_finite_with_the_right_sign(values: Tensor) -> None:
    n = values.numel()
    for option in options(n):
        carried = decoded(frame_of(values, option), n)
        assert bool(torch.isfinite(carried).all()), option
        assert bool((carried * torch.sign(values) >= 0).all()), option
        if compressor(option.operator).sparse:
            assert int((carried != 0).sum()) <= option.k, option


@DERANDOMIZED
@given(inputs, st.integers(0, 2**62))
def test_frames_are_deterministic(values: Tensor, key: int) -> None:
    for option in options(values.numel()):
        assert torch.equal(frame_of(values, option, key), frame_of(values, option, key)), option


@DERANDOMIZED
@given(inputs, st.integers(0, 7))
def test_frames_may_lie_at_any_address(values: Tensor, shift: int) -> None:
    for option in options(values.numel()):
        frame = frame_of(values, option)
        room = torch.zeros(frame.numel() + shift, dtype=torch.uint8)
        encode(values, option, room[shift:])
        assert torch.equal(room[shift:], frame), option
        assert torch.equal(decoded(room[shift:], values.numel()), decoded(frame, values.numel())), option


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_size_does_not_depend_on_the_data(kind: str) -> None:
    for n in LENGTHS:
        for option in options(n):
            assert frame_of(sample(kind, n, 1), option).numel() == wire_bytes((n,), option)


def test_wire_bytes_are_in_order() -> None:
    """The coarser the code, the fewer the bytes; the larger k, the more."""
    for n in (256, 9973, 1_000_003):
        k = n // 100
        names = [("drop", 0, ""), ("topk", k, "log4"), ("topk", k, "int8"), ("topk", k, "float32")]
        names += [("int8", 0, ""), ("bfloat16", 0, ""), ("float32", 0, "")]
        sizes = [wire_bytes((n,), Option(*name)) for name in names]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == len(sizes)
        assert sizes[-1] == 16 + 4 * n
        for values in compressor("topk").value_codes:
            by_k = [wire_bytes((n,), Option("topk", j, values)) for j in range(0, n, max(1, n // 300))]
            assert by_k == sorted(by_k)


def test_log4_takes_less_than_1_8_bytes_a_kept_value_at_1_percent() -> None:
    for n in (36_864, 147_456, 2_359_296):
        k = n // 100
        assert wire_bytes((n,), Option("topk", k, "log4")) / k <= 1.8


class Exact:
    """The error curve of a tensor, from all of its entries."""

    def __init__(self, values: Tensor) -> None:
        squares = np.sort(values.double().numpy() ** 2)[::-1]
        self._sums = np.concatenate([[0.0], np.cumsum(squares)])

    @property
    def total(self) -> float:
        return float(self._sums[-1])

    def kept(self, k: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float64]:
        return np.asarray(self._sums[k], np.float64)


@pytest.mark.parametrize("operator", ALL_COMPRESSORS, ids=lambda operator: operator.name)
def test_expected_errors_are_those_measured(operator: object) -> None:
    values = sample("normal", 100_003, 3)
    curve = Exact(values)
    for name in (o for o in ALL_COMPRESSORS if o is operator):
        for code in name.value_codes:
            k = np.array([100, 1000, 10_000], np.int64)
            expected = name.errors(k, code, curve)
            assert expected.shape == k.shape
            for j, told in zip(k.tolist(), expected.tolist(), strict=True):
                option = Option(name.name, j, code) if name.sparse else Option(name.name)
                found = energy(values.double() - decoded(frame_of(values, option), values.numel()).double())
                assert found == pytest.approx(told, rel=0.5, abs=1e-9 * curve.total), option

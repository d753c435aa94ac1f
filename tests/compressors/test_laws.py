"""Laws that hold for every operator in ALL_COMPRESSORS, every value code and every input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Compressor, Option, compressor, decode, encode, encode_owed, wire_bytes
from tests.compressors.cases import (
    DERANDOMIZED,
    EACH_OPERATOR,
    KINDS,
    LENGTHS,
    decoded,
    exact,
    frame_of,
    inputs,
    keeps_zeros,
    options,
    sample,
    shape_of,
    some_options,
    turns,
)

JUST_BELOW = np.nextafter(np.finfo(np.float32).max, np.float32(0))  # the largest number has no next one to space from


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns, scale=st.sampled_from([1.0, -1.0, 0.25, 1 / 3, 0.0]))
def test_decode_adds_the_scaled_values(operator: Compressor, values: Tensor, turn: int, scale: float) -> None:
    base = torch.linspace(-1, 1, values.numel())
    for option in some_options(operator, values.numel(), turn):
        frame = frame_of(values, option)
        out = base.clone()
        decode(frame, out, scale)
        carried = decoded(frame, values.numel()).numpy()
        assert np.array_equal(out.numpy(), base.numpy() + np.float32(scale) * carried), option


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns)
def test_residual_and_decoded_are_the_values(operator: Compressor, values: Tensor, turn: int) -> None:
    n = values.numel()
    for option in some_options(operator, n, turn):
        frame = frame_of(values, option)
        residual = values.clone()
        decode(frame, residual, -1.0)
        carried = decoded(frame, n)
        together = residual.double() + carried.double()
        if exact(option):
            assert torch.equal(together, values.double()), option
            continue
        largest = np.maximum(values.abs().numpy(), carried.abs().numpy())
        gap = (together - values.double()).abs().numpy()
        assert (gap <= np.spacing(np.minimum(largest, JUST_BELOW))).all(), option


def halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """A residual and a gradient whose sum is finite where the values are."""
    return values * 0.5, values.flip(0) * 0.5


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns, key=st.integers(0, 2**62))
def test_encode_owed_is_three_steps_in_one(operator: Compressor, values: Tensor, turn: int, key: int) -> None:
    """residual += gradient; encode; residual -= decoded, to the last bit; so nothing is ever lost."""
    start, gradient = halves(values)
    shape = shape_of(values.numel())
    for option in some_options(operator, values.numel(), turn):
        stepwise = start + gradient
        frame = frame_of(stepwise, option, key)
        decode(frame, stepwise, -1.0)
        residual, owed, room = start.clone(), gradient.clone(), torch.empty_like(frame)
        assert encode_owed(residual, owed, option, room, shape=shape, key=key) == frame.numel()
        assert torch.equal(room, frame), option
        assert torch.equal(residual.view(torch.int32), stepwise.view(torch.int32)), option
        assert torch.equal(owed, gradient), "changed the gradient"


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns)
def test_decoded_values_are_finite_with_the_right_sign(operator: Compressor, values: Tensor, turn: int) -> None:
    n = values.numel()
    for option in some_options(operator, n, turn):
        carried = decoded(frame_of(values, option), n)
        assert bool(torch.isfinite(carried).all()), option
        if operator.counts != "rank":  # the entries of a product may have any sign
            assert bool((torch.sign(carried) * torch.sign(values) >= 0).all()), option
        if operator.sparse:
            assert int((carried != 0).sum()) <= option.k, option
        if keeps_zeros(option):
            assert not carried[values == 0].any(), option


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns, key=st.integers(0, 2**62), shift=st.integers(0, 7))
def test_frames_are_deterministic_at_any_address(
    operator: Compressor, values: Tensor, turn: int, key: int, shift: int
) -> None:
    n = values.numel()
    for option in some_options(operator, n, turn):
        frame = frame_of(values, option, key)
        room = torch.zeros(frame.numel() + shift, dtype=torch.uint8)
        encode(values, option, room[shift:], shape=shape_of(n), key=key)
        assert torch.equal(room[shift:], frame), option
        assert torch.equal(decoded(room[shift:], n), decoded(frame, n)), option


@EACH_OPERATOR
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_size_does_not_depend_on_the_data(operator: Compressor, kind: str) -> None:
    for turn, n in enumerate(LENGTHS):
        for option in some_options(operator, n, turn):
            assert frame_of(sample(kind, n, 1), option).numel() == wire_bytes(shape_of(n), option)


@EACH_OPERATOR
@pytest.mark.parametrize("size", [1, 31, 32, 33, 63, 64, 65, 127, 8191, 8192, 8193, 65_536, 65_537, 131_073])
def test_every_option_at_powers_of_two_and_beside_them(operator: Compressor, size: int) -> None:
    values = sample("normal", size, size)
    for option in options(operator, size)[:: 1 if size < 1000 else 5]:
        frame = frame_of(values, option, key=size)
        residual = values.clone()
        decode(frame, residual, -1.0)
        assert torch.allclose(residual + decoded(frame, size), values, rtol=1e-5, atol=1e-4), option


def test_coarser_codes_take_fewer_bytes() -> None:
    for n in (9973, 1_000_003):
        k = n // 100
        names = [("drop", 0, "")] + [("topk", k, v) for v in ("sign", "log4", "int8", "bfloat16", "float32")]
        names += [(name, 0, "") for name in ("sign", "ternary")] + [("qsgd", 1, "")]
        names += [(name, 0, "") for name in ("int4", "int8", "bfloat16", "float32")]
        sizes = [wire_bytes((n,), Option(*name)) for name in names]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == len(sizes)
        assert sizes[-1] == 16 + 4 * n


@pytest.mark.parametrize("operator", [o for o in ALL_COMPRESSORS if o.counts], ids=lambda operator: operator.name)
def test_more_of_what_is_counted_takes_no_fewer_bytes(operator: Compressor) -> None:
    for n in (256, 9973, 1_000_000):
        # all entries (k = n) need no indices, so they may take fewer bytes than n - 1 do
        counted = range(0, n, max(1, n // 300)) if operator.sparse else range(1, 128)
        for values in operator.value_codes:
            sizes = [wire_bytes(shape_of(n), Option(operator.name, k, values)) for k in counted]
            assert sizes == sorted(sizes), values


def test_log4_takes_less_than_1_8_bytes_a_kept_value_at_1_percent() -> None:
    for n in (36_864, 147_456, 2_359_296):
        k = n // 100
        assert wire_bytes((n,), Option("topk", k, "log4")) / k <= 1.8


@pytest.mark.parametrize(
    ("option", "each"),
    [
        (Option("sign"), 1 / 8 + 1 / 64),
        (Option("ternary"), 1 / 5 + 1 / 64),
        (Option("qsgd", 1), 1 / 4 + 1 / 64),
        (Option("qsgd", 2), 1 / 2 + 1 / 64),
        (Option("qsgd", 7), 1 / 2 + 1 / 64),
        (Option("qsgd", 8), 1 + 1 / 64),
        (Option("int4"), 1 / 2 + 1 / 64),
        (Option("int8-stochastic"), 1 + 1 / 64),
        (Option("natural"), 1 + 1 / 64),
        (Option("bfloat16"), 2),
        (Option("float16"), 2 + 1 / 64),
        (Option("float32"), 4),
        (Option("lowrank", 2, "float32"), 4 * 2 * 8000 / 10_240_000),
        (Option("lowrank", 2, "bfloat16"), 2 * 2 * 8000 / 10_240_000),
    ],
    ids=str,
)
def test_bytes_an_entry_are_as_documented(option: Option, each: float) -> None:
    n = 6400 * 1600
    assert wire_bytes((6400, 1600), option) == pytest.approx(each * n, abs=21)


def test_operators_are_found_by_name() -> None:
    assert [compressor(operator.name) for operator in ALL_COMPRESSORS] == list(ALL_COMPRESSORS)

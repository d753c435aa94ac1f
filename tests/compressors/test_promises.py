"""How far every operator may be off, in each case or in the mean over keys, and what it expects by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Compressor, Option, damping, decode, encode, wire_bytes
from tests.compressors.cases import (
    DERANDOMIZED,
    EACH_OPERATOR,
    SMALL,
    Exact,
    decoded,
    energy,
    frame_of,
    inputs,
    lost,
    options,
    sample,
    shape_of,
    some_options,
    turns,
)

BOUNDED = 2.0**120  # promises are about smaller magnitudes; larger ones saturate block codes
EXPECTED_KINDS = ("heavy", "zeros", "equal", "spike", "huge", "spread")
N = 300
SHAPE = shape_of(N)
RANDOM_OPTIONS = [
    option
    for operator in ALL_COMPRESSORS
    for option in options(operator, N)
    if operator.promise(SHAPE, option).expected and (not operator.sparse or option.k >= N // 10)
]  # fewer entries are too rarely drawn for the mean of 200
UNBIASED = [
    option
    for operator in ALL_COMPRESSORS
    for option in options(operator, N)
    if operator.promise(SHAPE, option).unbiased
]
_BY_NAME = {operator.name: operator for operator in ALL_COMPRESSORS}


@EACH_OPERATOR
@DERANDOMIZED
@given(values=inputs, turn=turns)
def test_no_error_exceeds_its_promise(operator: Compressor, values: Tensor, turn: int) -> None:
    n = values.numel()
    if n and float(values.abs().max()) >= BOUNDED:
        return
    for option in some_options(operator, n, turn):
        promise = operator.promise(shape_of(n), option)
        if not promise.expected:
            bound = promise.error * energy(values) * (1 + 1e-6) + n * SMALL**2
            assert lost(values, decoded(frame_of(values, option), n)) <= bound, option


def carried_by_keys(values: Tensor, option: Option, keys: int) -> NDArray[np.float32]:
    """What the frames of many keys carry, (keys, n)."""
    frame = torch.empty(wire_bytes(SHAPE, option), dtype=torch.uint8)
    rows = torch.zeros(keys, values.numel())
    for key, row in enumerate(rows.unbind()):
        encode(values, option, frame, shape=SHAPE, key=key)
        decode(frame, row)
    return rows.numpy()


@pytest.mark.parametrize("option", RANDOM_OPTIONS, ids=str)
def test_mean_error_keeps_its_promise(option: Option) -> None:
    keys = 200
    promised = _BY_NAME[option.operator].promise(SHAPE, option).error
    for kind in EXPECTED_KINDS:
        values = sample(kind, N, 1)
        rows = carried_by_keys(values, option, keys).astype(np.float64)
        errors = ((rows - values.double().numpy()) ** 2).sum(axis=1)
        bound = promised * energy(values) * (1 + 1e-6) + N * SMALL**2
        assert errors.mean() <= bound + 5 * errors.std(ddof=1) / keys**0.5, kind


def one_step(rows: NDArray[np.float32], block: slice) -> NDArray[np.float64]:
    """From the lowest magnitude that each entry of a block was decoded to, up to the next one that the block has."""
    magnitudes = np.abs(rows[:, block].astype(np.float64))
    lowest = magnitudes.min(axis=0)
    known = np.unique(magnitudes)
    above = np.searchsorted(known, lowest, side="right").clip(max=known.size - 1)
    return np.asarray(known[above] - lowest)


@pytest.mark.parametrize("option", UNBIASED, ids=str)
def test_the_mean_over_keys_is_the_value(option: Option) -> None:
    """Within 5 standard errors, and what 16-bit noise allows; a step that is rarely taken may not have been seen."""
    keys = 4000
    values = torch.cat([sample("normal", 256, 2), sample("heavy", N - 256, 2)])
    rows = carried_by_keys(values, option, keys)
    steps = np.concatenate([one_step(rows, slice(start, start + 256)) for start in range(0, N, 256)])
    wide = rows.astype(np.float64)
    allowed = 5 * wide.std(axis=0, ddof=1) / keys**0.5 + 17 * steps / keys + 2.0**-16 * float(values.abs().max())
    gaps = np.abs(wide.mean(axis=0) - values.double().numpy())
    assert (gaps <= allowed).all(), int(np.argmax(gaps - allowed))

    # all entries together, so that a bias in one direction cannot hide in the noise of each
    for weights in (np.sign(values.double().numpy()), np.ones(N), values.double().numpy()):
        sums = wide @ weights
        noise = 2.0**-17 * float(np.abs(weights).sum()) * float(values.abs().max())
        allowed_sum = 5 * sums.std(ddof=1) / keys**0.5 + noise
        assert abs(sums.mean() - float(values.double().numpy() @ weights)) <= allowed_sum


@pytest.mark.parametrize("option", UNBIASED, ids=str)
def test_damped_values_are_a_contraction(option: Option) -> None:
    """What error feedback needs of an operator that is none by itself: in the mean over keys, less than everything."""
    keys = 200
    factor = damping(SHAPE, option)
    error = _BY_NAME[option.operator].promise(SHAPE, option).error
    assert factor == (1 if error < 1 else 1 / (1 + error))
    bound = error if error < 1 else 1 - factor
    for kind in ("normal", "heavy", "equal", "spike"):
        values = sample(kind, N, 1)
        rows = factor * carried_by_keys(values, option, keys).astype(np.float64)
        errors = ((rows - values.double().numpy()) ** 2).sum(axis=1) / energy(values)
        assert errors.mean() <= bound + 5 * errors.std(ddof=1) / keys**0.5 + 1e-6 < 1.2, kind


def test_who_promises_what() -> None:
    """As documented: unbiased ones need no error feedback, contractions (below 1) converge with it."""
    assert {option.operator for option in UNBIASED} == {
        "ternary", "qsgd", "int4-stochastic", "int8-stochastic", "natural",
    }  # fmt: skip
    assert {option.operator for option in RANDOM_OPTIONS} - {option.operator for option in UNBIASED} == {"randomk"}
    always = {"topk", "blocktopk", "sign", "int4", "int8", "bfloat16", "float16", "float32"}
    for operator in ALL_COMPRESSORS:
        for option in options(operator, N):
            promise = operator.promise(SHAPE, option)
            assert promise.error >= 0
            if not promise.unbiased:
                assert damping(SHAPE, option) == 1
            if operator.name in always and (not operator.sparse or option.k >= 32):
                assert promise.error < 1, option


# What these lose does not follow from magnitudes: for low rank the spectrum decides, for the threshold how many
# entries reach it, for block top-k how large entries lie side by side. They tell an upper bound or a middle.
NOT_KNOWN = ("lowrank", "threshold", "blocktopk")


@pytest.mark.parametrize(
    "operator", [o for o in ALL_COMPRESSORS if o.name not in NOT_KNOWN], ids=lambda operator: operator.name
)
def test_expected_errors_are_those_measured(operator: Compressor) -> None:
    values = sample("normal", 100_003, 3)
    curve = Exact(values)
    counted = {"entries": [100, 1000, 10_000, 50_000], "levels": [1, 3, 7, 15, 127], "": [0, 0]}[operator.counts]
    for code in operator.value_codes:
        expected = operator.errors(np.array(counted, np.int64), code, curve)
        assert expected.shape == (len(counted),)
        for k, told in zip(counted, expected.tolist(), strict=True):
            option = Option(operator.name, k, code)
            found = lost(values, decoded(frame_of(values, option), values.numel()))
            assert found == pytest.approx(told, rel=0.5, abs=1e-9 * curve.total), option


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_errors_that_are_not_known_lie_between_nothing_and_everything(name: str) -> None:
    curve = Exact(sample("heavy", 10_000, 3))
    operator = _BY_NAME[name]
    k = np.array([1, 32, 1000], np.int64)
    for code in operator.value_codes:
        expected = operator.errors(k, code, curve)
        assert expected.shape == k.shape
        assert (np.diff(expected) <= 0).all()
        assert (expected >= 0).all()
        assert (expected <= curve.total).all()

"""The number formats one by one: indices, nibbles, log4, int8, bfloat16."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kimad.compressors import Option, elias_fano, log4, nibbles
from kimad.compressors.log4 import Log4Values
from tests.compressors.cases import DERANDOMIZED, decoded, frame_of, sample


@DERANDOMIZED
@given(st.integers(1, 100_000), st.floats(0, 1), st.sampled_from(elias_fano.LOW_BITS), st.integers(0, 999))
def test_indices_come_back(n: int, density: float, low_bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = max(1, int(density**3 * n))
    indices = np.sort(rng.choice(n, k, replace=False)).astype(np.int32)
    indices[-1] = n - 1
    body = np.full(elias_fano.body_bytes(n, k, low_bits), 255, np.uint8)
    elias_fano.encode(indices, n, low_bits, body)
    assert np.array_equal(elias_fano.decode(body, n, k, low_bits), indices)


@pytest.mark.parametrize("n", [2**31 - 1, 2**31 - 2**16])
@pytest.mark.parametrize("low_bits", [12, 16])
def test_indices_up_to_the_largest(n: int, low_bits: int) -> None:
    indices = np.array([0, 1, 2**16, n // 2, n - 2, n - 1], np.int32)
    body = np.empty(elias_fano.body_bytes(n, 6, low_bits), np.uint8)
    elias_fano.encode(indices, n, low_bits, body)
    assert np.array_equal(elias_fano.decode(body, n, 6, low_bits), indices)


def test_low_bits_are_the_smallest_choice() -> None:
    for n in (1, 10, 1000, 123_457, 2**31 - 1):
        for k in {1, min(n, 3), max(1, n // 10_000), max(1, n // 100), max(1, n // 3)}:
            sizes = [elias_fano.body_bytes(n, k, low_bits) for low_bits in elias_fano.LOW_BITS]
            assert elias_fano.body_bytes(n, k, elias_fano.best_low_bits(n, k)) == min(sizes)


@DERANDOMIZED
@given(st.lists(st.integers(0, 15), max_size=70))
def test_nibbles_come_back(numbers: list[int]) -> None:
    packed = np.full(nibbles.packed_bytes(len(numbers)), 255, np.uint8)
    nibbles.pack(np.array(numbers, np.uint8), packed)
    if numbers:
        assert nibbles.unpack(packed, len(numbers)).tolist() == numbers


def test_log4_levels_are_pinned() -> None:
    """Ranks on different machines must decode the same bits."""
    assert zlib.crc32(log4._LEVELS.tobytes()) == LEVELS_CRC
    exact = 2.0 ** (np.arange(-126 * 256, 128 * 256) / 256)
    positive = log4._LEVELS[: exact.size].astype(np.float64)
    assert np.abs(positive / exact - 1).max() < 1e-7
    assert np.array_equal(log4._LEVELS[exact.size :], -log4._LEVELS[: exact.size])


LEVELS_CRC = 2947306522


@pytest.mark.parametrize("k", [1, 2, 255, 256, 257, 5000])
def test_log4_takes_the_nearest_level(k: int) -> None:
    values = np.random.default_rng(k).standard_t(3, k).astype(np.float32)
    values[values == 0] = 1
    code = Log4Values()
    body = np.empty(code.body_bytes(k), np.uint8)
    code.encode(values, body)
    found = code.decode(body, k)
    blocks = -(-k // 256)
    low = body[: 2 * blocks].view("<i2").astype(int)
    span = body[2 * blocks : 4 * blocks].view("<i2").astype(int)
    for b in range(blocks):
        part = slice(256 * b, min(k, 256 * b + 256))
        levels = 2.0 ** ((low[b] + np.round(span[b] * np.arange(8) / 7)) / 256)
        gaps = np.abs(np.abs(values[part, None]) - levels)
        assert np.all(np.abs(values[part] - found[part]) <= gaps.min(axis=1) + 2e-3 * np.abs(values[part]))


@pytest.mark.parametrize("exponent", [-126, -100, -30, 0, 60, 127])
def test_log4_at_the_ends_of_float32(exponent: int) -> None:
    values = torch.ldexp(torch.tensor([1.0, -1.5, 1.999999, 1.25]), torch.tensor(exponent))
    carried = decoded(frame_of(values, Option("topk", 4, "log4")), 4)
    assert torch.allclose(carried / values, torch.ones(4), rtol=0.08)
    assert carried[0].item() == values[0].item()


def test_log4_error_is_what_the_solver_is_told() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_t(3, 1_000_000).astype(np.float32))
    k = 10_000
    carried = decoded(frame_of(values, Option("topk", k, "log4")), values.numel()).double()
    kept = carried != 0
    lost = float(((values.double() - carried)[kept] ** 2).sum() / (values.double()[kept] ** 2).sum())
    assert 0.3 * Log4Values.error < lost < Log4Values.error


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e30])
def test_int8_is_within_half_a_step(scale: float) -> None:
    values = sample("normal", 4097, 1) * scale
    carried = decoded(frame_of(values, Option("int8")), 4097)
    for start in range(0, 4097, 256):
        block, found = values[start : start + 256], carried[start : start + 256]
        step = block.abs().max().item() / 127
        assert (block - found).abs().max().item() <= 0.5001 * step
        assert found.abs().max().item() == pytest.approx(127 * step, rel=1e-6)


def test_int8_of_a_zero_block_is_zero_and_spares_its_neighbours() -> None:
    values = torch.cat([torch.zeros(256), torch.full((256,), 2.54), torch.full((10,), 1e-44)])
    carried = decoded(frame_of(values, Option("int8")), values.numel())
    assert not carried[:256].any()
    assert torch.allclose(carried[256:512], values[256:512])
    assert not carried[512:].any()  # denormals count as zero


def test_bfloat16_rounds_as_torch_does() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, np.uint32)
    bits[:4096] = (bits[:4096] & 0xFFFF0000) | 0x8000  # exact ties
    values = torch.from_numpy(bits.view(np.float32).copy())
    values = values[values.abs() < 3e38]
    carried = decoded(frame_of(values, Option("bfloat16")), values.numel())
    assert torch.equal(carried, values.bfloat16().float())


def test_bfloat16_saturates() -> None:
    largest = torch.finfo(torch.float32).max
    values = torch.tensor([largest, -largest, 1.0])
    carried = decoded(frame_of(values, Option("bfloat16")), 3)
    top = torch.finfo(torch.bfloat16).max
    assert carried.tolist() == [top, -top, 1.0]

"""The number formats one by one: packed numbers, and what each operator and value code makes of its values."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kimad.compressors import ALL_VALUE_CODES, Option, kernels, log4, packing
from kimad.compressors.errors import TrailingBytes
from kimad.compressors.log4 import Log4Values
from kimad.compressors.value_code import ValueCode
from tests.compressors.cases import DERANDOMIZED, KINDS, SMALL, decoded, energy, frame_of, lost, sample


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@DERANDOMIZED
@given(numbers=st.lists(st.integers(0, 255), max_size=70))
def test_packed_numbers_come_back(bits: int, numbers: list[int]) -> None:
    numbers = [number % 2**bits for number in numbers]
    packed = np.full(packing.packed_bytes(len(numbers), bits), 255, np.uint8)
    assert packed.size == -(-len(numbers) * bits // 8)
    packing.pack(np.array(numbers, np.uint8), bits, packed)
    assert packing.unpack(packed, bits, len(numbers)).tolist() == numbers
    together = sum(number << bits * place for place, number in enumerate(numbers))  # the first in the lowest bits
    assert packed.tobytes() == together.to_bytes(packed.size, "little")


@pytest.mark.parametrize(("bits", "k"), [(1, 1), (1, 9), (2, 3), (4, 5)])
def test_bits_behind_packed_numbers_are_zero(bits: int, k: int) -> None:
    packed = np.zeros(packing.packed_bytes(k, bits), np.uint8)
    packing.unpack(packed, bits, k)
    packed[-1] = 1 << k * bits % 8
    with pytest.raises(TrailingBytes, match=f"behind {k} packed numbers are 1, must be 0"):
        packing.unpack(packed, bits, k)


def carried(code: ValueCode, values: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float32]:
    """Encode into a body that holds something already, decode, and check that nothing else changes."""
    body = np.full(code.body_bytes(values.size), 0xA5, np.uint8)
    before = values.copy()
    code.encode(values, body)
    assert np.array_equal(values, before)
    return code.decode(body, values.size).copy()


@pytest.mark.parametrize("code", ALL_VALUE_CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"largest"}))
def test_no_value_code_loses_more_than_it_says(code: ValueCode, kind: str) -> None:
    """Zeros among the values included, which only some operators keep."""
    for k in (1, 2, 31, 255, 256, 257, 1000):
        values = sample(kind, k, k)
        values[::7] = 0
        found = torch.from_numpy(carried(code, values.numpy()))
        assert lost(values, found) <= code.worst * energy(values) * (1 + 1e-6) + k * SMALL**2, k
        assert bool((found * torch.sign(values) >= 0).all())
        if code.name not in ("log4", "sign"):
            assert not found[values == 0].any()


@pytest.mark.parametrize("code", ALL_VALUE_CODES, ids=lambda code: code.name)
def test_value_codes_stay_finite_at_the_largest_values(code: ValueCode) -> None:
    for k in (1, 2, 7, 255, 256, 257, 1000):
        values = sample("largest", k, k).numpy()
        found = carried(code, values)
        assert np.isfinite(found).all()
        assert np.isfinite(values - found).all()


@pytest.mark.parametrize("code", ALL_VALUE_CODES, ids=lambda code: code.name)
def test_more_values_take_no_fewer_bytes(code: ValueCode) -> None:
    sizes = [code.body_bytes(k) for k in range(1, 2000)]
    assert sizes == sorted(sizes)


def test_log4_levels_are_pinned() -> None:
    """Ranks on different machines must decode the same bits."""
    assert zlib.crc32(log4.LEVELS.tobytes()) == LEVELS_CRC
    assert log4.LEVELS.size == kernels.LOG4_LEVELS
    exact = 2.0 ** (np.arange(-126 * 256, 128 * 256) / 256)
    assert np.abs(log4.LEVELS.astype(np.float64) / exact - 1).max() < 1e-7


LEVELS_CRC = 4222282729


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
    found = decoded(frame_of(values, Option("topk", 4, "log4")), 4)
    assert torch.allclose(found / values, torch.ones(4), rtol=0.08)
    assert found[0].item() == values[0].item()


def test_log4_error_is_what_the_solver_is_told() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_t(3, 1_000_000).astype(np.float32))
    found = decoded(frame_of(values, Option("topk", 10_000, "log4")), values.numel())
    kept = found != 0
    share = lost(values[kept], found[kept]) / energy(values[kept])
    assert 0.3 * Log4Values.error < share < Log4Values.error


@pytest.mark.parametrize(("name", "levels"), [("int8", 127), ("int4", 7)])
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e30])
def test_linear_codes_are_within_half_a_step(name: str, levels: int, scale: float) -> None:
    values = sample("normal", 4097, 1) * scale
    found = decoded(frame_of(values, Option(name)), 4097)
    for start in range(0, 4097, 256):
        block, near = values[start : start + 256], found[start : start + 256]
        step = block.abs().max().item() / levels
        assert (block - near).abs().max().item() <= 0.5001 * step
        assert near.abs().max().item() == pytest.approx(levels * step, rel=1e-6)


@pytest.mark.parametrize("name", ["int8-stochastic", "int4-stochastic"])
def test_stochastic_rounding_takes_a_neighbour(name: str) -> None:
    values = sample("normal", 4097, 1)
    found = decoded(frame_of(values, Option(name), key=5), 4097)
    levels = 127 if name.startswith("int8") else 7
    for start in range(0, 4097, 256):
        block, near = values[start : start + 256], found[start : start + 256]
        assert (block - near).abs().max().item() < 1.0001 * block.abs().max().item() / levels


def test_int8_of_a_zero_block_is_zero_and_spares_its_neighbours() -> None:
    values = torch.cat([torch.zeros(256), torch.full((256,), 2.54), torch.full((10,), 1e-44)])
    found = decoded(frame_of(values, Option("int8")), values.numel())
    assert not found[:256].any()
    assert torch.allclose(found[256:512], values[256:512])
    assert not found[512:].any()  # denormals count as zero


def test_sign_is_the_mean_magnitude() -> None:
    values = torch.cat([torch.tensor([1.0, -2.0, 3.0, 0.0] * 64), torch.tensor([-5.0, 7.0])])
    found = decoded(frame_of(values, Option("sign")), values.numel())
    assert found[:4].tolist() == [1.5, -1.5, 1.5, 1.5]
    assert found[256:].tolist() == [-6.0, 6.0]


def test_ternary_has_three_values_a_block() -> None:
    values = sample("normal", 700, 4)
    found = decoded(frame_of(values, Option("ternary"), key=3), 700)
    for start in (0, 256, 512):
        top = values[start : start + 256].abs().max().item()
        assert set(found[start : start + 256].tolist()) == {-top, 0.0, top}


def test_natural_takes_one_of_two_powers_of_two() -> None:
    values = sample("normal", 5000, 4)
    found = decoded(frame_of(values, Option("natural"), key=3), 5000)
    below = torch.exp2(torch.floor(torch.log2(values.abs())))
    assert bool(((found.abs() == below) | (found.abs() == 2 * below)).all())
    whole = torch.tensor([1.0, -0.5, 2.0**-60, 0.0, -(2.0**-126), 2.0**-127, 2.0**30])
    assert decoded(frame_of(whole, Option("natural")), 7).tolist() == [1.0, -0.5, 2.0**-60, 0.0, 0.0, 0.0, 2.0**30]


def test_bfloat16_rounds_as_torch_does() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, np.uint32)
    bits[:4096] = (bits[:4096] & 0xFFFF0000) | 0x8000  # exact ties
    values = torch.from_numpy(bits.view(np.float32).copy())
    values = values[values.abs() < 3e38]
    found = decoded(frame_of(values, Option("bfloat16")), values.numel())
    assert torch.equal(found, values.bfloat16().float())


def test_bfloat16_saturates() -> None:
    largest = torch.finfo(torch.float32).max
    values = torch.tensor([largest, -largest, 1.0])
    top = torch.finfo(torch.bfloat16).max
    assert decoded(frame_of(values, Option("bfloat16")), 3).tolist() == [top, -top, 1.0]


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1.0, 1e4, 1e20, 1e38])
def test_float16_is_as_exact_at_every_magnitude(scale: float) -> None:
    values = torch.linspace(-3, 3, 1001) * scale
    found = decoded(frame_of(values, Option("float16")), 1001)
    relative = ((found - values).abs() / (values.abs() + 1e-3 * scale)).max().item()
    assert relative <= 2.0**-11 * 1.001

"""Randomness comes from the key alone: pinned, uniform, and no generator of the process is touched."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
import torch

from kimad.compressors import ALL_COMPRESSORS, Compressor, decode, encode_owed, noise, strata
from kimad.compressors.dense import DenseCompressor
from tests.compressors.cases import EACH_OPERATOR, decoded, frame_of, is_seeded, options, sample, shape_of


def philox(key: tuple[int, int], counter: int) -> list[int]:
    """Four words of Philox-4x64 with 10 rounds, as published; written out in plain integers."""
    words, mask = [counter, 0, 0, 0], (1 << 64) - 1
    for turn in range(10):
        first, second = words[0] * 0xD2E7470EE14C6C93, words[2] * 0xCA5A826395121157
        round_key = [(key[0] + turn * 0x9E3779B97F4A7C15) & mask, (key[1] + turn * 0xBB67AE8584CAA73B) & mask]
        words = [
            (second >> 64) ^ words[1] ^ round_key[0],
            second & mask,
            (first >> 64) ^ words[3] ^ round_key[1],
            first & mask,
        ]
    return words


@pytest.mark.parametrize(("key", "stream"), [(0, 0), (1, 2), (2**64 - 1, strata.STREAM), (123_456_789, 7)])
def test_words_are_those_of_philox(key: int, stream: int) -> None:
    expected = [word for counter in (1, 2, 3) for word in philox((key, stream), counter)]
    assert noise.generator(key, stream).random_raw(12).tolist() == expected
    assert noise.generator(key - 2**64, stream).random_raw(10).tolist() == expected[:10]  # keys count modulo 2^64


def test_noise_is_pinned() -> None:
    """Ranks of different versions and machines must round alike where they share a key."""
    assert zlib.crc32(noise.generator(1, 2).random_raw(1000).astype("<u8").tobytes()) == WORDS_CRC
    assert zlib.crc32(noise.uniform(1, 2, np.empty(1001, np.float32)).astype("<f4").tobytes()) == UNIFORM_CRC
    assert zlib.crc32(strata.places(1, 1_000_003, 999).astype("<i8").tobytes()) == PLACES_CRC


WORDS_CRC = 3163797259
UNIFORM_CRC = 3750851188
PLACES_CRC = 3776821174


def test_noise_is_uniform_between_0_and_1() -> None:
    n = 1 << 20
    drawn = noise.uniform(5, 0, np.empty(n, np.float32)).astype(np.float64)
    assert 0 < drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1
    assert abs(drawn.mean() - 1 / 2) < 5 * (1 / 12 / n) ** 0.5
    assert abs(drawn.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    counts = np.bincount((drawn * 256).astype(np.int64), minlength=256)
    chi_square = float(((counts - n / 256) ** 2 / (n / 256)).sum())
    assert abs(chi_square - 255) < 5 * (2 * 255) ** 0.5
    for lag in (1, 2, 4, 256):  # neighbours are independent
        together = ((drawn[lag:] - 0.5) * (drawn[:-lag] - 0.5)).mean()
        assert abs(together) < 5 / 12 / n**0.5


def test_streams_and_keys_are_independent() -> None:
    n = 1 << 16
    rows = [noise.uniform(key, stream, np.empty(n, np.float32)) - 0.5 for key in (0, 1, 2**63) for stream in (0, 1, 2)]
    correlations = np.corrcoef(np.stack(rows)) - np.eye(len(rows))
    assert np.abs(correlations).max() < 5 / n**0.5


def test_a_shorter_draw_is_the_start_of_a_longer_one() -> None:
    whole = noise.halves(9, 1, 1000)
    for size in (0, 1, 2, 3, 4, 5, 999):
        assert np.array_equal(noise.halves(9, 1, size), whole[:size])


@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 7), (7, 1), (1000, 999), (1_000_003, 1000), (2**31 - 1, 5000)])
def test_places_increase_one_in_each_stratum(n: int, k: int) -> None:
    edges = np.array([j * n // k for j in range(k + 1)])
    for key in (0, 1, 2**63, 2**64 - 1):
        places = strata.places(key, n, k)
        assert places.shape == (k,)
        assert (np.diff(places) > 0).all()
        assert (places >= edges[:-1]).all()
        assert (places < edges[1:]).all()


@pytest.mark.parametrize(("n", "k"), [(23, 5), (10, 9), (64, 4), (5, 1)])
def test_every_place_is_drawn_as_often_as_its_stratum_is_small(n: int, k: int) -> None:
    keys = 20_000
    counts = np.zeros(n, np.int64)
    for key in range(keys):
        counts[strata.places(key, n, k)] += 1
    sizes = np.diff([j * n // k for j in range(k + 1)])
    chance = np.repeat(1 / sizes, sizes)
    assert (np.abs(counts / keys - chance) <= 5 * np.sqrt(chance * (1 - chance) / keys)).all()


@EACH_OPERATOR
def test_other_keys_give_other_frames_where_there_is_chance(operator: Compressor) -> None:
    values = sample("normal", 6000, 1)
    for option in options(operator, 6000):
        frames = {frame_of(values, option, key).numpy().tobytes() for key in (0, 1, 2**40, 2**63)}
        nothing = operator.sparse and option.k == 0
        assert len(frames) == (4 if is_seeded(option) and not nothing else 1), option


@pytest.mark.parametrize(
    "operator",
    [o for o in ALL_COMPRESSORS if isinstance(o, DenseCompressor) and is_seeded(options(o, 1000)[-1])],
    ids=lambda operator: operator.name,
)
def test_pieces_of_a_long_tensor_are_rounded_independently(operator: DenseCompressor) -> None:
    n = 3 * operator.chunk
    values = sample("normal", operator.chunk, 1).repeat(3)
    first, second, third = decoded(frame_of(values, options(operator, n)[-1]), n).reshape(3, -1)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


@EACH_OPERATOR
def test_no_generator_of_the_process_is_touched(operator: Compressor) -> None:
    values = sample("normal", 9000, 1)
    before = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    for option in options(operator, 9000):
        frame = frame_of(values, option, key=3)
        residual = values.clone()
        encode_owed(residual, values, option, frame, shape=shape_of(9000), key=3)
        decode(frame, residual)
    after = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    assert before[0] == after[0]
    assert str(before[1]) == str(after[1])
    assert torch.equal(before[2], after[2])

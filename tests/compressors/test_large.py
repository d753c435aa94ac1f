"""Tensors of ten million entries, threads beside each other, and memory."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Compressor, Option, decode, encode, encode_owed, wire_bytes
from tests.compressors.cases import EACH_OPERATOR, any_option, decoded, energy, frame_of, sample, shape_of, some_options

LARGE = 10_000_000


@pytest.fixture(scope="module")
def large() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(LARGE, np.float32))


def of_every_kind(operator: Compressor, n: int) -> list[Option]:
    """One or two options of an operator: a percent of the entries, the fewest and the most levels, rank 2."""
    counted = {"": [0], "entries": [n // 100], "levels": [1, 127], "rank": [2]}[operator.counts]
    values = operator.value_codes[0]
    return [Option(operator.name, k, values) for k in counted]


@EACH_OPERATOR
def test_ten_million_entries(operator: Compressor, large: Tensor) -> None:
    shape = shape_of(LARGE)
    whole = energy(large)
    for option in of_every_kind(operator, LARGE):
        size = wire_bytes(shape, option)
        frame = torch.full((size + 1,), 0xA5, dtype=torch.uint8)
        assert encode(large, option, frame, shape=shape, key=1) == size
        assert frame[size] == 0xA5
        residual = large.clone()
        decode(frame[:size], residual, -1.0)
        assert energy(residual) <= operator.promise(shape, option).error * whole * 1.01, option
        decode(frame[:size], residual)
        assert torch.allclose(residual[::1001], large[::1001], atol=1e-5)


@EACH_OPERATOR
def test_nothing_of_the_tensors_size_is_allocated(operator: Compressor) -> None:
    """From the second step on; a frame's own size may be."""
    n = 4_000_000
    values, gradient = sample("normal", n, 1), torch.zeros(n)
    for option in of_every_kind(operator, n):
        shape = shape_of(n)
        frame = torch.empty(wire_bytes(shape, option), dtype=torch.uint8)
        for _ in range(2):
            tracemalloc.start()
            encode_owed(values, gradient, option, frame, shape=shape)
            decode(frame, values)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < n / 2 + frame.numel() // 4, f"{peak} bytes for {option} of a layer of {4 * n}"


@EACH_OPERATOR
def test_threads_write_the_same_bytes_as_one(operator: Compressor) -> None:
    """Scratch memory is not shared; four threads work on other layers and options at once."""
    layers = [sample("heavy", n, n) for n in (60_000, 5_005, 60_000, 257)]
    choices = [some_options(operator, layer.numel(), 1, count=4) for layer in layers]

    def frames(i: int) -> list[Tensor]:
        found = []
        for _ in range(3):
            for option in choices[i]:
                frame = frame_of(layers[i], option, key=i)
                found += [frame, decoded(frame, layers[i].numel())]
        return found

    expected = [frames(i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(frames, range(4)), expected, strict=True):
            assert all(map(torch.equal, found, alone))


def test_threads_of_other_operators_do_not_disturb_each_other() -> None:
    layers = [sample("heavy", 70_001, seed) for seed in range(4)]

    def frames(i: int) -> list[Tensor]:
        order = ALL_COMPRESSORS[i:] + ALL_COMPRESSORS[:i]
        return [frame_of(layers[i], any_option(operator, 70_001), key=i) for operator in order]

    expected = [frames(i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(frames, range(4)), expected, strict=True):
            assert all(map(torch.equal, found, alone))

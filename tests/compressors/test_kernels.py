"""The compiled kernels give the bits of numpy's code, and refuse what they must not touch."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kimad.compressors import FrameError, NonFiniteError, Option, compressor, decode, elias_fano, encode_owed, kernels
from kimad.compressors.blocks import LARGEST
from kimad.compressors.errors import BadIndices, TrailingBytes
from kimad.compressors.log4 import LEVELS
from kimad.compressors.scratch import SCRATCH
from tests.compressors.cases import BUILT, DERANDOMIZED, KINDS, LENGTHS, frame_of, numpy_alone, options, sample

OPERATORS = ("topk", "threshold", "blocktopk", "randomk", "int8", "int4", "int8-stochastic", "bfloat16")
ONE_CALL = ("topk", "threshold", "int8", "int4", "int8-stochastic", "int4-stochastic", "bfloat16")


def test_the_kernels_were_built() -> None:
    """Without them, all below would compare numpy's code with itself."""
    if not kernels.compiled() and "CI" not in os.environ:  # there nothing may be skipped
        pytest.skip("no C compiler when Kimad was installed")
    assert kernels.compiled()


def both(work: Callable[[], list[Tensor]]) -> None:
    fast = work()
    with numpy_alone():
        slow = work()
    for a, b in zip(fast, slow, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


@DERANDOMIZED
@given(
    st.sampled_from(OPERATORS), st.sampled_from(sorted(KINDS)), st.sampled_from([*LENGTHS, 50_021, 300_007]),
    st.integers(0, 2**20),
)  # fmt: skip
def test_frames_residuals_and_sums_are_the_same_bits(name: str, kind: str, n: int, seed: int) -> None:
    values, residual = sample(kind, n, seed), sample(kind, n, seed + 1)
    if kind == "largest":
        residual.zero_()  # their sum would be infinite
    choices = options(compressor(name), n)

    def work(option: Option) -> list[Tensor]:
        frame = frame_of(values, option, seed)
        total = torch.full((n,), 0.125)
        decode(frame, total, -0.3)
        owed, room = residual.clone(), torch.zeros(frame.numel(), dtype=torch.uint8)
        encode_owed(owed, values, option, room, key=seed)
        return [frame, total, owed, room]

    for option in choices[seed % 3 :: 3]:
        both(partial(work, option))


@pytest.mark.parametrize("low_bits", range(31))
def test_indices_of_any_width_are_the_same_bytes(low_bits: int) -> None:
    rng = np.random.default_rng(low_bits)
    n = min(2**31 - 1, 3000 << low_bits)
    for k in (1, 2, 3, 7, 8, 9, 1001):
        indices = np.unique(rng.integers(0, n, k)).astype(np.int32)
        size = elias_fano.body_bytes(n, indices.size, low_bits)

        def work(indices: np.ndarray = indices, size: int = size) -> list[Tensor]:
            body = np.full(size, 0xA5, np.uint8)
            elias_fano.encode(indices, n, low_bits, body)
            return [torch.from_numpy(body), torch.from_numpy(elias_fano.decode(body, n, indices.size, low_bits))]

        both(work)


@pytest.mark.parametrize("place", range(9))
def test_what_is_wrong_with_indices_is_named_all_the_same(place: int) -> None:
    """Every damaged byte that numpy's decoder refuses is refused, with its words; every other decodes alike."""
    indices = np.array([3, 40, 41, 90], np.int32)
    body = np.zeros(elias_fano.body_bytes(100, 4, 3), np.uint8)
    elias_fano.encode(indices, 100, 3, body)
    refused = 0
    for flipped in range(1, 256):
        damaged = body.copy()
        damaged[place % body.size] ^= flipped
        found: list[object] = []
        for enabled in (True, False):
            try:
                if enabled:
                    found.append(elias_fano.decode(damaged, 100, 4, 3).tolist())
                else:
                    with numpy_alone():
                        found.append(elias_fano.decode(damaged, 100, 4, 3).tolist())
            except (BadIndices, TrailingBytes) as error:
                found.append(f"{type(error).__name__}: {error}")
        assert found[0] == found[1]
        refused += isinstance(found[0], str)
    assert refused


def outcome(frame: Tensor, n: int) -> tuple[str, bytes]:
    """What decoding comes to: an error or none, and the target afterwards."""
    total = torch.full((n,), 0.125)
    try:
        decode(frame, total, -0.5)
    except FrameError as error:
        return f"{type(error).__name__}: {error}", total.numpy().tobytes()
    return "", total.numpy().tobytes()


@pytest.mark.parametrize("name", ONE_CALL)
@pytest.mark.parametrize("n", [1, 300, 1001])
def test_damaged_frames_end_alike(name: str, n: int) -> None:
    """In the same error, with nothing added, or in the same sum."""
    rng = random.Random(f"{name} {n}")
    sparse = compressor(name).sparse
    frame = frame_of(sample("heavy", n, 3), Option(name, -(-n // 5) if sparse else 0, "log4" if sparse else ""))
    untouched = torch.full((n,), 0.125).numpy().tobytes()
    refused = 0
    for _ in range(600):
        damaged = frame.clone()
        for _ in range(rng.randint(1, 3)):
            # the header is a small part of the frame, and has most of what can be wrong
            place = rng.randrange(16 if rng.random() < 0.3 else len(frame))
            damaged[place] = rng.choice([0, 1, 255, rng.randrange(256)])
        kind = rng.random()
        if kind < 0.1:
            damaged = damaged[: rng.randrange(len(frame))].clone()
        elif kind < 0.2:
            damaged = torch.cat([damaged, torch.tensor([rng.randrange(2)], dtype=torch.uint8)])
        fast = outcome(damaged, n)
        with numpy_alone():
            slow = outcome(damaged, n)
        assert fast == slow
        if fast[0]:
            refused += 1
            assert fast[1] == untouched
    assert 100 < refused < 600


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["topk", "int8", "int4", "bfloat16"])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 256, 257, 5000])
def test_every_place_of_a_value_that_is_not_finite_is_seen(name: str, bad: float, n: int) -> None:
    option = Option(name, max(1, n // 10) if name == "topk" else 0, "log4" if name == "topk" else "")
    for place in {0, 1 % n, n // 2, n - 1}:
        values = sample("normal", n, place)
        values[place] = bad
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            frame_of(values, option)


@BUILT
def test_arrays_that_do_not_fit_are_refused() -> None:
    floats, ints = np.zeros(300, np.float32), np.zeros(300, np.int32)
    codes = np.zeros(300, np.uint8)
    with pytest.raises(ValueError, match="float64 array of 300 entries, must be 0 of float32"):
        kernels.linear_add(codes, 4, floats.astype(np.float64), 1.0)
    with pytest.raises(ValueError, match="uint8 array of 300 entries, must be 308"):
        kernels.linear_add(codes, 8, floats, 1.0)
    with pytest.raises(ValueError, match="in a row"):
        kernels.linear_add(codes[::2], 4, floats[:100], 1.0)
    with pytest.raises(ValueError, match="must be 300 of float32"):
        kernels.add_at(floats, ints, floats[:299], 1.0)
    unaligned = np.zeros(1201, np.uint8)[1:].view(np.float32)
    with pytest.raises(ValueError, match="in a row"):
        kernels.select(unaligned, 5, None)
    with pytest.raises(ValueError, match="2 indices up to 99, below 100, in 3 bytes"):
        kernels.elias_fano_encode(np.array([5, 99], np.int32), 100, 3, codes[:3])
    with pytest.raises(ValueError, match="must be 300 of float32"):
        kernels.select(floats, 5, floats[:299])
    jobs = np.zeros(2, kernels.JOB)
    jobs["start"], jobs["bytes"] = [0, 290], [10, 11]
    with pytest.raises(ValueError, match="frames from 0 to 301 in 300 bytes"):
        kernels.add_frames(jobs, 0, codes, float(LARGEST), LEVELS)
    with pytest.raises(ValueError, match="must be JOB"):
        kernels.encode_frames(jobs["k"], codes, float(LARGEST), 0.0, LEVELS)
    for outside in (-1, 300):
        ints[7] = outside
        with pytest.raises(IndexError, match="an index outside of 300 entries"):
            kernels.add_at(floats, ints, np.ones(300, np.float32), 1.0)
        assert not floats.any()


def test_a_frame_at_an_odd_address_is_read_and_written() -> None:
    values = sample("normal", 1000, 1)
    for option in (Option("int8"), Option("int4"), Option("bfloat16"), Option("topk", 200, "log4")):
        frame = frame_of(values, option)
        room = torch.zeros(frame.numel() + 1, dtype=torch.uint8)
        owed = torch.zeros(1000)
        encode_owed(owed, values, option, room[1:])
        assert torch.equal(room[1:], frame)
        total, other = torch.zeros(1000), torch.zeros(1000)
        decode(room[1:], total)
        decode(frame, other)
        assert torch.equal(total, other)


@BUILT
@pytest.mark.parametrize("name", ONE_CALL)
def test_frames_that_are_sent_most_take_one_call(name: str) -> None:
    """The kernel knows operators by their numbers; one that it does not know would only be slow."""
    sparse = compressor(name).sparse
    frame = frame_of(sample("heavy", 1000, 3), Option(name, 100 if sparse else 0, "log4" if sparse else ""))
    total, other = torch.zeros(1000), torch.zeros(1000)
    assert kernels.add_frame(frame.numpy(), total.numpy(), 1.0, float(LARGEST), LEVELS)
    with numpy_alone():
        decode(frame, other)
    assert torch.equal(total, other)


@BUILT
def test_a_dense_frame_needs_no_room_for_kept_entries() -> None:
    frame = frame_of(sample("normal", 50_000, 3), Option("int8"))

    def room() -> int:
        """In a thread of its own, whose scratch memory is empty."""
        decode(frame, torch.zeros(50_000))
        return sum(buffer.size for (name, _), buffer in SCRATCH._buffers.items() if name.startswith("kept"))

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(room).result() == 0


@BUILT
def test_a_library_of_other_sources_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called with other arguments than it expects, it would write anywhere."""
    folder = Path(kernels.__file__).parent
    for path in [folder / "kernels.h", *folder.glob("_compiled*")]:
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    assert kernels._load() is not None
    header = tmp_path / "kernels.h"
    header.write_text(header.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert kernels._load() is None
    for library in tmp_path.glob("_compiled*"):
        library.unlink()  # the file that is loaded must stay what it is
        library.write_bytes(b"nothing that a loader knows")
    assert kernels._load() is None

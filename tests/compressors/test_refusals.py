"""What is refused, by name, before anything is written."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, Option, OptionError, TensorError, compressor, decode, encode, wire_bytes
from kimad.compressors import errors as err
from kimad.compressors.topk import ALL_VALUE_CODES
from tests.compressors.cases import frame_of, sample

N = 600
VALUES = sample("normal", N, 0)
FRAMES = {
    "topk": frame_of(VALUES, Option("topk", 59, "log4")),
    "topk8": frame_of(VALUES, Option("topk", 59, "int8")),
    "topk32": frame_of(VALUES, Option("topk", 59, "float32")),
    "int8": frame_of(VALUES, Option("int8")),
    "bfloat16": frame_of(VALUES, Option("bfloat16")),
    "float32": frame_of(VALUES, Option("float32")),
}
INDEX_END = 16 + (59 + (N >> 4) + 8) // 8 + 30  # 59 indices below 600 take 4 low bits


def changed(name: str, at: int, *new: int) -> Tensor:
    frame = FRAMES[name].clone()
    frame[at : at + len(new)] = torch.tensor(new, dtype=torch.uint8)
    return frame


def floats(*values: float) -> list[int]:
    return list(np.array(values, "<f4").tobytes())


REFUSED = [
    (err.FrameTooShort, FRAMES["topk"][:15], "header needs 16"),
    (err.FrameTooShort, FRAMES["topk"][:-1], "59 entries need"),
    (err.FrameTooShort, FRAMES["int8"][:-1], "announces"),
    (err.WrongLength, torch.cat([FRAMES["float32"], torch.zeros(1, dtype=torch.uint8)]), "only"),
    (err.TrailingBytes, torch.cat([FRAMES["topk"], torch.ones(1, dtype=torch.uint8)]), "not all zero"),
    (err.TrailingBytes, changed("topk", len(FRAMES["topk"]) - 1, 0xF0), "must be 0"),
    (err.BadMagic, changed("topk", 0, 0), "expected b'Ki'"),
    (err.BadVersion, changed("topk", 2, 9), "version 9"),
    (err.UnknownCodec, changed("topk", 3, 200), "number 200"),
    (err.WrongLength, changed("topk", 3, 0), "announces only 0"),
    (err.UnknownValueCode, changed("topk", 4, 77), "77"),
    (err.UnknownValueCode, changed("int8", 4, 1), "must be 0"),
    (err.BadLowBits, changed("topk", 5, 5), "5 low bits"),
    (err.BadLowBits, changed("bfloat16", 5, 4), "must be 0"),
    (err.BadFlags, changed("topk", 6, 1), "must be 0"),
    (err.BadFlags, changed("topk", 7, 1), "must be 0"),
    (err.NumelMismatch, changed("topk", 8, 0), "the target has 600"),
    (err.CountTooLarge, changed("topk", 12, 255, 255, 255, 255), "4294967295"),
    (err.CountMismatch, changed("int8", 12, 1, 0, 0, 0), "has 600"),
    (err.BadIndices, changed("topk", 16, 255, 255), "bits are set"),
    (err.NonFiniteScale, changed("topk", INDEX_END, 0, 128), "exponents from"),
    (err.NonFiniteScale, changed("topk", INDEX_END, 255, 127), "exponents from"),
    (err.NonFiniteScale, changed("topk", INDEX_END + 2, 255, 127), "spans from"),
    (err.NonFiniteScale, changed("topk", INDEX_END + 2, 255, 255), "spans from"),
    (err.NonFiniteScale, changed("topk8", INDEX_END, *floats(float("nan"))), "scale nan"),
    (err.NonFiniteScale, changed("int8", 20, *floats(float("inf"))), "block 1"),
    (err.NonFiniteScale, changed("int8", 20, *floats(-1)), "scale -1"),
    (err.NonFiniteScale, changed("int8", 20, *floats(3e38)), "scale 3"),
    (err.NonFiniteValues, changed("topk32", INDEX_END + 8, *floats(float("inf"))), "59 values"),
    (err.NonFiniteValues, changed("float32", 16 + 4 * 599, *floats(float("nan"))), "600 values"),
    (err.NonFiniteValues, changed("bfloat16", 16 + 2 * 599, 0x80, 0xFF), "600 values"),
]


@pytest.mark.parametrize(("error", "frame", "says"), REFUSED, ids=[f"{e.__name__}-{s}" for e, _, s in REFUSED])
def test_damaged_frames(error: type[err.FrameError], frame: Tensor, says: str) -> None:
    out = VALUES.clone()
    with pytest.raises(error, match=says):
        decode(frame, out)
    assert torch.equal(out, VALUES)


def test_every_frame_error_is_tested() -> None:
    classes = {c for c in vars(err).values() if isinstance(c, type) and issubclass(c, err.FrameError)}
    assert classes - {err.FrameError} == {error for error, _, _ in REFUSED}


def indices_frame(bits: list[int], low: list[int]) -> Tensor:
    """A top-k frame over 600 entries with l = 8, float32 values, and these high bits and low bytes."""
    high = np.zeros(8 * ((len(low) + 2 + 8) // 8), np.uint8)
    high[bits] = 1
    head = [*b"Ki", 1, compressor("topk").code, 1, 8, 0, 0, 600 % 256, 600 // 256, 0, 0, len(low), 0, 0, 0]
    body = [*np.packbits(high).tolist(), *low, *floats(*[1.0] * len(low))]
    return torch.tensor(head + body, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("bits", "low", "says"),
    [
        ([0, 1], [7, 7], "7 follows 7"),
        ([0, 1], [9, 3], "3 follows 9"),
        ([0, 3], [9, 255], "index 767"),
        ([0, 5], [9, 3], "bit 5 is set behind"),
        ([0], [9, 3], "1 bits are set in the high parts of 2"),
    ],
)
def test_bad_indices(bits: list[int], low: list[int], says: str) -> None:
    out = torch.zeros(600)
    with pytest.raises(err.BadIndices, match=says):
        decode(indices_frame(bits, low), out)
    assert not out.any()


def test_good_indices_by_hand() -> None:
    out = torch.zeros(600)
    decode(indices_frame([0, 3], [9, 87]), out, 2.0)
    assert torch.nonzero(out).flatten().tolist() == [9, 599]
    assert out.sum().item() == 4.0


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (Option("nope"), "unknown operator 'nope', known are drop"),
        (Option("topk", 601, "log4"), "k is 601, must be from 0 to the tensor's 600"),
        (Option("topk", -1, "log4"), "k is -1"),
        (Option("topk", 5, "fp4"), "unknown value code 'fp4'"),
        (Option("topk", 5), "unknown value code ''"),
        (Option("topk", 0.5, "log4"), "must be an integer"),  # type: ignore[arg-type]
        (Option("int8", 5), "neither k nor values"),
        (Option("drop", 0, "log4"), "neither k nor values"),
    ],
)
def test_impossible_options(option: Option, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        wire_bytes((N,), option)
    with pytest.raises(OptionError, match=says):
        encode(VALUES, option, torch.empty(9999, dtype=torch.uint8))


def test_tensors_that_are_too_long() -> None:
    with pytest.raises(OptionError, match="2147483647"):
        wire_bytes((2**31,), Option("topk", 1, "log4"))
    assert wire_bytes((2**31 - 1,), Option("topk", 1, "log4")) < 10**5
    with pytest.raises(OptionError, match="4294967295"):
        wire_bytes((2**20, 2**12), Option("float32"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (VALUES.double(), "torch.float64"),
        (VALUES.reshape(20, 30), r"shape \(20, 30\)"),
        (VALUES[::2], "non-contiguous"),
        (VALUES.to("meta"), "on meta"),
        (VALUES.numpy(), "ndarray"),
    ],
)
def test_wrong_tensors(values: Tensor, says: str) -> None:
    room = torch.empty(9999, dtype=torch.uint8)
    for operator in ALL_COMPRESSORS:
        option = Option(operator.name, 1 if operator.sparse else 0, operator.value_codes[0])
        with pytest.raises(TensorError, match=says):
            encode(values, option, room)
        with pytest.raises(TensorError, match=says):
            decode(frame_of(VALUES, option), values)
    with pytest.raises(TensorError, match="frame"):
        decode(VALUES, VALUES)
    with pytest.raises(TensorError, match="10 bytes"):
        encode(VALUES, Option("int8"), room[:10])
    with pytest.raises(TensorError, match="has 5"):
        encode(VALUES, Option("int8"), room, shape=(5,))


def test_names_and_numbers_are_pinned() -> None:
    """Numbers on the wire are never used again for another operator."""
    assert {o.name: o.code for o in ALL_COMPRESSORS} == {"drop": 0, "float32": 1, "bfloat16": 2, "int8": 3, "topk": 4}
    assert {c.name: c.code for c in ALL_VALUE_CODES} == {"float32": 1, "int8": 2, "log4": 3}


def test_an_empty_frame_is_a_dropped_layer() -> None:
    out = VALUES.clone()
    decode(torch.empty(0, dtype=torch.uint8), out)
    assert torch.equal(out, VALUES)


def test_it_is_not_a_top_level_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    assert "compressors" not in sys.modules
    with pytest.raises(ImportError, match=r"kimad\.compressors"):
        importlib.import_module("compressors")

"""Options, tensors and names that are refused, each with what is allowed; frames are in `test_attacks`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kimad.compressors import (
    ALL_COMPRESSORS,
    ALL_VALUE_CODES,
    Compressor,
    Option,
    OptionError,
    TensorError,
    compressor,
    compressor_by_code,
    decode,
    encode,
    encode_owed,
    wire_bytes,
)
from kimad.compressors.errors import UnknownCodec
from tests.compressors.cases import EACH_OPERATOR, any_option, frame_of, sample

N = 600
VALUES = sample("normal", N, 0)
ROOM = torch.empty(9999, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (Option("nope"), "unknown operator 'nope', known are drop, topk"),
        (Option("topk", 601, "log4"), "k is 601, must be from 0 to the tensor's 600 entries"),
        (Option("topk", -1, "log4"), "k is -1, must be from 0"),
        (Option("topk", 5, "fp4"), "unknown value code 'fp4' for topk, known are 'log4', 'int8'"),
        (Option("topk", 5), "unknown value code ''"),
        (Option("topk", 0.5, "log4"), "k is 0.5, must be an integer"),  # type: ignore[arg-type]
        (Option("topk", 5.0, "log4"), "k is 5.0, must be an integer"),  # type: ignore[arg-type]
        (Option("topk", 5, "log4", 0.5), "topk takes no threshold, got 0.5"),
        (Option("randomk", 601, "int8"), "k is 601, must be from 0"),
        (Option("blocktopk", 601, "int8"), "k is 601, must be from 0"),
        (Option("threshold", 601, "int8"), "k is 601, must be from 0"),
        (Option("threshold", 5, "int8", -0.5), "threshold is -0.5, must be 0 or above, and finite"),
        (Option("threshold", 5, "int8", float("nan")), "threshold is nan, must be 0 or above"),
        (Option("threshold", 5, "int8", float("inf")), "threshold is inf, must be 0 or above"),
        (Option("threshold", 5, "int8", 1e39), "threshold is 1e\\+39, must be 0 or above, and finite"),
        (Option("qsgd", 0), "qsgd with 0 levels, must be from 1 to 127"),
        (Option("qsgd", 128), "qsgd with 128 levels, must be from 1 to 127"),
        (Option("qsgd", -3), "qsgd with -3 levels"),
        (Option("qsgd", 4.0), "k is 4.0, must be an integer"),  # type: ignore[arg-type]
        (Option("qsgd", 4, "log4"), "unknown value code 'log4' for qsgd, known are ''"),
        (Option("lowrank", 0, "float32"), "rank is 0, must be from 1 to 1024"),
        (Option("lowrank", 1025, "float32"), "rank is 1025, must be from 1 to 1024"),
        (Option("lowrank", 2, "int8"), "unknown value code 'int8' for lowrank, known are 'float32', 'bfloat16'"),
        (Option("int8", 5), "int8 takes no k, got k=5"),
        (Option("int8", 0, "log4"), "unknown value code 'log4' for int8, known are ''"),
        (Option("sign", 0, "sign"), "unknown value code 'sign' for sign"),
        (Option("float32", 0, "", 1.0), "float32 takes no threshold, got 1.0"),
        (Option("float32", 0, "", float("nan")), "float32 takes no threshold, got nan"),
        (Option("drop", 0, "log4"), "unknown value code 'log4' for drop"),
        (Option("drop", 1), "drop takes no k, got k=1"),
    ],
    ids=str,
)
def test_impossible_options(option: Option, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        wire_bytes((N,), option)
    with pytest.raises(OptionError, match=says):
        encode(VALUES, option, ROOM)
    residual = VALUES.clone()
    with pytest.raises(OptionError, match=says):
        encode_owed(residual, VALUES, option, ROOM)
    assert torch.equal(residual, VALUES)


@EACH_OPERATOR
def test_parameters_of_others_are_refused(operator: Compressor) -> None:
    good = any_option(operator, N)
    wrong = [Option(good.operator, good.k, "fp4"), Option(good.operator, -1, good.values)]
    if not operator.counts:
        wrong.append(Option(good.operator, 1, good.values))
    if operator.name != "threshold":
        wrong.append(Option(good.operator, good.k, good.values, 0.25))
    wrong.append(Option(good.operator, float(good.k), good.values))  # type: ignore[arg-type]
    wire_bytes((N,), good)
    for option in wrong:
        with pytest.raises(OptionError):
            operator.wire_bytes((N,), option)
    other = next(o for o in ALL_COMPRESSORS if o is not operator)
    with pytest.raises(OptionError, match=f"was given to operator '{other.name}'"):
        other.wire_bytes((N,), good)


@EACH_OPERATOR
def test_tensors_that_are_too_long(operator: Compressor) -> None:
    option = Option(operator.name, 1 if operator.counts else 0, operator.value_codes[0])
    with pytest.raises(OptionError, match="4294967295"):
        wire_bytes((2**20, 2**12), option)
    if operator.sparse:
        with pytest.raises(OptionError, match="2147483647"):
            wire_bytes((2**31,), option)
        assert wire_bytes((2**31 - 1,), option) < 10**5
    else:
        assert wire_bytes((2**31,), option) < 2**34


@EACH_OPERATOR
@pytest.mark.parametrize(
    ("values", "says"),
    [
        (VALUES.double(), "float64 tensor of shape \\(600,\\) on cpu, must be a flat contiguous torch.float32"),
        (VALUES.half(), "torch.float16"),
        (VALUES.bfloat16(), "torch.bfloat16"),
        (VALUES.int(), "torch.int32"),
        (VALUES.reshape(20, 30), r"shape \(20, 30\)"),
        (VALUES[::2], "non-contiguous"),
        (VALUES.to("meta"), "on meta"),
        (VALUES.numpy(), "ndarray, must be a torch.Tensor"),
    ],
    ids=["float64", "float16", "bfloat16", "int32", "matrix", "strided", "meta", "numpy"],
)
def test_wrong_tensors(operator: Compressor, values: Tensor, says: str) -> None:
    option = any_option(operator, 1)  # k = 1 fits the shorter one too
    good = sample("normal", values.shape[0] if values.ndim == 1 else N, 1)
    with pytest.raises(TensorError, match=f"values is a .*{says}"):
        encode(values, option, ROOM)
    with pytest.raises(TensorError, match=f"out is a .*{says}"):
        decode(frame_of(good, option), values)
    with pytest.raises(TensorError, match=f"values is a .*{says}"):
        encode_owed(values, values, option, ROOM)
    if values.ndim == 1:
        with pytest.raises(TensorError, match=f"gradient is a .*{says}"):
            encode_owed(good, values, option, ROOM)


@EACH_OPERATOR
def test_frames_and_buffers_are_flat_uint8(operator: Compressor) -> None:
    option = any_option(operator, N)
    size = wire_bytes((N,), option)
    says = r"a .* must be a flat contiguous torch\.uint8 tensor on cpu"
    for wrong in (VALUES, ROOM.to("meta"), ROOM.reshape(-1, 9), ROOM[::2], ROOM.to(torch.int8)):
        with pytest.raises(TensorError, match=f"out is {says}"):
            encode(VALUES, option, wrong)
        with pytest.raises(TensorError, match=f"frame is {says}"):
            decode(wrong, VALUES)
    if size:
        with pytest.raises(TensorError, match=f"out has {size - 1} bytes, the frame needs {size}"):
            encode(VALUES, option, ROOM[: size - 1])
    with pytest.raises(TensorError, match=r"values has 600 entries, shape \(5,\) has 5"):
        encode(VALUES, option, ROOM, shape=(5,))
    with pytest.raises(TensorError, match=r"residual has shape \(600,\), gradient \(599,\)"):
        encode_owed(VALUES, VALUES[1:], option, ROOM)


def test_names_and_numbers_are_pinned() -> None:
    """Numbers on the wire are never used again for another operator or code."""
    assert {o.name: o.code for o in ALL_COMPRESSORS} == {
        "drop": 0, "float32": 1, "bfloat16": 2, "int8": 3, "topk": 4, "float16": 5, "randomk": 6, "threshold": 7,
        "blocktopk": 8, "sign": 9, "ternary": 10, "qsgd": 11, "natural": 12, "lowrank": 13, "int4": 14,
        "int4-stochastic": 15, "int8-stochastic": 16,
    }  # fmt: skip
    assert {c.name: c.code for c in ALL_VALUE_CODES} == {"float32": 1, "int8": 2, "log4": 3, "bfloat16": 4, "sign": 5}


def test_operators_are_found_by_number() -> None:
    assert [compressor_by_code(o.code) for o in ALL_COMPRESSORS] == list(ALL_COMPRESSORS)
    with pytest.raises(UnknownCodec, match=r"unknown operator number 200, known are \[0, 1, 2"):
        compressor_by_code(200)
    with pytest.raises(OptionError, match="unknown operator 'nope', known are drop, topk"):
        compressor("nope")


def test_an_empty_frame_is_a_dropped_layer() -> None:
    out = VALUES.clone()
    decode(torch.empty(0, dtype=torch.uint8), out)
    assert torch.equal(out, VALUES)


def test_options_print_what_they_are() -> None:
    assert str(Option("topk", 120, "log4")) == "topk:120:log4"
    assert str(Option("threshold", 5, "int8", 0.5)) == "threshold:5:0.5:int8"
    assert str(Option("float32")) == "float32"
    assert str(Option("qsgd", 7)) == "qsgd:7"
    assert hash(Option("qsgd", 7)) == hash(Option("qsgd", 7))


def test_it_is_not_a_top_level_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    assert "compressors" not in sys.modules
    with pytest.raises(ImportError, match=r"kimad\.compressors"):
        importlib.import_module("compressors")

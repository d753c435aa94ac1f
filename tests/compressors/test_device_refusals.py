"""The torch code for devices refuses what the numpy code refuses, in the same words, before anything is written."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kimad.compressors import (
    ALL_COMPRESSORS,
    Compressor,
    FrameError,
    NonFiniteError,
    Option,
    TensorError,
    compressor,
    device,
    encode,
    wire_bytes,
)
from kimad.compressors.compressor import Call
from tests.compressors.cases import EACH_OPERATOR, sample
from tests.compressors.on_device import KEY, ON_EACH_DEVICE, bits, one_option, written


def damaged(frame: Tensor, rng: random.Random) -> Tensor:
    """The frame with a byte or two changed, most often in front, or cut, or made longer."""
    frame = frame.clone()
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(min(len(frame), rng.choice([24, len(frame)])))
        frame[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    kind = rng.randrange(8)
    if kind == 0:
        return frame[: rng.randrange(len(frame))].clone()
    if kind == 1:
        return torch.cat([frame, torch.tensor([rng.randrange(2)], dtype=torch.uint8)])
    return frame


def outcome(operator: Compressor, frame: Tensor, base: Tensor, on: str) -> tuple[str, list[int]]:
    """What decoding comes to, by the numpy code if `on` is "numpy": an error or none, and the target afterwards."""
    out = base.clone() if on == "numpy" else base.to(on, copy=True)
    try:
        if on == "numpy":
            operator.decode(frame.numpy(), out.numpy(), 1.0)
        else:
            device.decode(operator, frame.to(on), out, 1.0)
    except FrameError as error:
        return f"{type(error).__name__}: {error}", bits(out.cpu())
    return "", bits(out.cpu())


def frames() -> Iterator[tuple[Compressor, Tensor]]:
    """A frame of every operator and value code."""
    shape = (15, 41)
    for operator in ALL_COMPRESSORS:
        for values in operator.value_codes:
            option = Option(operator.name, one_option(operator).k, values)
            frame = torch.empty(wire_bytes(shape, option), dtype=torch.uint8)
            encode(sample("normal", 615, 11), option, frame, shape=shape, key=KEY)
            if frame.numel():
                yield operator, frame


@ON_EACH_DEVICE
def test_damaged_frames_are_refused_alike(on: str) -> None:
    base = sample("normal", 615, 12)
    for operator, frame in frames():
        rng = random.Random(len(frame))
        refused = 0
        for _ in range(150):
            changed = damaged(frame, rng)
            expected = outcome(operator, changed, base, "numpy")
            assert outcome(operator, changed, base, on) == expected, operator.name
            if expected[0]:
                refused += 1
                assert expected[1] == bits(base)
        assert refused > 20, operator.name


@ON_EACH_DEVICE
def test_bytes_in_a_frame_of_nothing_are_refused(on: str) -> None:
    out = torch.ones(5, device=on)
    with pytest.raises(FrameError, match="announces only 0"):
        device.decode(compressor("drop"), torch.zeros(3, dtype=torch.uint8, device=on), out, 1.0)
    device.decode(compressor("drop"), torch.zeros(0, dtype=torch.uint8, device=on), out, 1.0)
    assert out.tolist() == [1.0] * 5


@ON_EACH_DEVICE
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, 500, 999])
def test_values_that_are_not_finite_are_refused(at: int, bad: float, on: str) -> None:
    for operator in ALL_COMPRESSORS:
        if operator.name in ("drop", "randomk"):  # look at no value, or at those they keep alone
            continue
        values = sample("normal", 1000, 13)
        values[at] = bad
        shape = (20, 50)
        with pytest.raises(NonFiniteError):
            written(values, None, one_option(operator), on, shape)
        with pytest.raises(NonFiniteError):
            written(torch.zeros(1000), values, one_option(operator), on, shape)


@ON_EACH_DEVICE
@EACH_OPERATOR
def test_wrong_tensors_are_refused(operator: Compressor, on: str) -> None:
    option = one_option(operator)
    values = torch.ones(600, device=on)
    room = torch.empty(4000, dtype=torch.uint8, device=on)
    call = Call((600,), option)
    size = device.encode(operator, values, None, room, call)
    for wrong, says in (
        (values.double(), "torch.float64"),
        (values.half(), "torch.float16"),
        (values.view(20, 30), r"shape \(20, 30\)"),
        (torch.ones(1200, device=on)[::2], "non-contiguous"),
    ):
        with pytest.raises(TensorError, match=f"values is a .*{says}.* on {on}"):
            device.encode(operator, wrong, None, room, call)
        with pytest.raises(TensorError, match=f"gradient is a .*{says}"):
            device.encode(operator, values, wrong, room, call)
        with pytest.raises(TensorError, match=f"out is a .*{says}"):
            device.decode(operator, room[:size], wrong, 1.0)
    elsewhere = "meta"
    with pytest.raises(TensorError, match=f"gradient is .* on meta, must be .* on {on}"):
        device.encode(operator, values, values.to(elsewhere), room, call)
    with pytest.raises(TensorError, match=f"out is .* on meta, must be .* on {on}"):
        device.encode(operator, values, None, room.to(elsewhere), call)
    with pytest.raises(TensorError, match=f"frame is .* on meta, must be .* on {on}"):
        device.decode(operator, room.to(elsewhere), values, 1.0)
    with pytest.raises(TensorError, match=r"frame is a torch\.float32"):
        device.decode(operator, values, values, 1.0)
    if size:
        with pytest.raises(TensorError, match=f"out has {size - 1} bytes"):
            device.encode(operator, values, None, room[: size - 1], call)

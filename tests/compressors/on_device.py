"""Calls of the torch code for devices, with everything brought back to the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kimad.compressors import Compressor, Option, compressor, compressor_by_code, device, wire_bytes
from kimad.compressors.compressor import Call

KEY = 20231
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ON_EACH_DEVICE = pytest.mark.parametrize("on", ["cpu", pytest.param("cuda", marks=NO_CUDA)])


def one_option(operator: Compressor, k: int = 40) -> Option:
    """An option that every tensor of at least k entries can be sent with."""
    counted = {"entries": k, "levels": 7, "rank": 2, "": 0}[operator.counts]
    return Option(operator.name, counted, operator.value_codes[0])


def bits(values: Tensor) -> list[int]:
    listed: list[int] = values.view(torch.int32).tolist()
    return listed


def written(
    values: Tensor, gradient: Tensor | None, option: Option, on: str, shape: tuple[int, ...] | None = None,
    warm: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The frame that the torch code writes behind three other bytes, and what it leaves in `values`."""
    shape = shape or tuple(values.shape)
    size = wire_bytes(shape, option)
    held = values.to(on, copy=True)
    owed = None if gradient is None else gradient.to(on)
    out = torch.full((size + 12,), 0xA5, dtype=torch.uint8, device=on)
    call = Call(shape, option, KEY, None if warm is None else warm.to(on))
    assert device.encode(compressor(option.operator), held, owed, out[3:], call) == size
    out = out.cpu()
    assert (out[:3] == 0xA5).all()
    assert (out[size + 3 :] == 0xA5).all(), "wrote behind the frame"
    return out[3 : size + 3].clone(), held.cpu()


def added(frame: Tensor, base: Tensor, scale: float, on: str) -> Tensor:
    """base + scale * what the frame carries, by the torch code."""
    out = base.to(on, copy=True)
    operator = compressor_by_code(int(frame[3])) if frame.numel() else compressor("drop")
    device.decode(operator, frame.to(on), out, scale)
    return out.cpu()

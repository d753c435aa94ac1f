"""Torch tensors at the border, numpy views of the same memory inside (cache-blocked numpy is the fast path on CPU)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors.errors import OptionError, TensorError

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int32]  # below 2**31

_CPU = torch.device("cpu")
MAX_NUMEL = 2**32 - 1  # a frame's counts are 32 bits wide
TINY = np.float32(np.finfo(np.float32).tiny)  # smallest normal float32; anything smaller counts as zero


def flat(tensor: Tensor, dtype: torch.dtype, name: str, device: torch.device = _CPU) -> Tensor:
    """Return a flat contiguous tensor of this dtype on this device, without its history. Raises TensorError."""
    if not isinstance(tensor, Tensor):
        raise TensorError(f"{name} is a {type(tensor).__name__}, must be a torch.Tensor")
    if tensor.dtype != dtype or tensor.device != device or tensor.dim() != 1 or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else "non-contiguous "
        raise TensorError(
            f"{name} is a {layout}{tensor.dtype} tensor of shape {tuple(tensor.shape)} on {tensor.device}, "
            f"must be a flat contiguous {dtype} tensor on {device}"
        )
    return tensor.detach()


def floats(tensor: Tensor, name: str) -> Floats:
    """View a flat float32 CPU tensor as an array, without a copy. Raises TensorError."""
    array: Floats = flat(tensor, torch.float32, name).numpy()
    return array


def frame_bytes(tensor: Tensor, name: str = "frame") -> Bytes:
    """View a flat uint8 CPU tensor as an array, without a copy. Raises TensorError."""
    array: Bytes = flat(tensor, torch.uint8, name).numpy()
    return array


def frame_room(out: Tensor, needed: int) -> Bytes:
    """View the first `needed` bytes of `out`. Raises TensorError if it is shorter."""
    room = frame_bytes(out, "out")
    if room.size < needed:
        raise TensorError(f"out has {room.size} bytes, the frame needs {needed}")
    return room[:needed]


def numel(shape: Sequence[int]) -> int:
    """Number of entries of a tensor of this shape. Raises OptionError if no frame can carry so many."""
    n = prod(shape)
    if not 0 <= n <= MAX_NUMEL:
        raise OptionError(f"tensor of shape {tuple(shape)} has {n} entries, a frame carries 0 to {MAX_NUMEL}")
    return n

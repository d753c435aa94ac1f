"""Torch tensors at the border, numpy views of the same memory inside (cache-blocked numpy is the fast path on CPU)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors.errors import TensorError

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]

TINY = np.float32(np.finfo(np.float32).tiny)  # smallest normal float32; anything smaller counts as zero


def _check(tensor: Tensor, dtype: torch.dtype, name: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TensorError(f"{name} is a {type(tensor).__name__}, must be a torch.Tensor")
    if tensor.dtype != dtype or not tensor.is_cpu or tensor.dim() != 1 or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else "non-contiguous "
        raise TensorError(
            f"{name} is a {layout}{tensor.dtype} tensor of shape {tuple(tensor.shape)} on {tensor.device}, "
            f"must be a flat contiguous {dtype} tensor on cpu"
        )


def floats(tensor: Tensor, name: str) -> Floats:
    """View a flat float32 CPU tensor as an array, without a copy. Raises TensorError."""
    _check(tensor, torch.float32, name)
    array: Floats = tensor.detach().numpy()
    return array


def frame_bytes(tensor: Tensor, name: str = "frame") -> Bytes:
    """View a flat uint8 CPU tensor as an array, without a copy. Raises TensorError."""
    _check(tensor, torch.uint8, name)
    array: Bytes = tensor.detach().numpy()
    return array


def frame_room(out: Tensor, needed: int) -> Bytes:
    """View the first `needed` bytes of `out`. Raises TensorError if it is shorter."""
    room = frame_bytes(out, "out")
    if room.size < needed:
        raise TensorError(f"out has {room.size} bytes, the frame needs {needed}")
    return room[:needed]

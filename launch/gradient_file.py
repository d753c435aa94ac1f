"""A gradient from a file: what numpy or torch saved, or the samples of `kimad bench profile`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kimad.launch.errors import UsageError
from kimad.sim import Workload

FORMS = ".npy (float array), .pt (tensor, or dict of tensors) or .npz (of `kimad bench profile`)"
MAX_NUMEL = 2**31 - 1  # entries of a tensor; sparse frames have indices below 2**31


def read_gradient(path: Path) -> list[Tensor]:
    """The file's tensors, float32, contiguous, finite, not all of them zero. Raises UsageError or WorkloadError.

    Of a dict the tensors of floats; of a profile the last sample of each layer, flat: its entries are no neighbours.
    """
    found = [_float32(path, tensor) for tensor in _tensors(path) if tensor.numel()]
    if not any(bool(tensor.any()) for tensor in found):
        raise UsageError(f"--gradient {str(path)!r} holds no number but zero; give a gradient")
    return found


def _tensors(path: Path) -> list[Tensor]:
    if path.suffix == ".npz":
        return [torch.from_numpy(samples[-1]) for samples in Workload.load(path).gradients]
    if path.suffix not in (".npy", ".pt", ".pth"):
        raise UsageError(f"--gradient {str(path)!r} is of no known kind; give {FORMS}")
    try:
        if path.suffix == ".npy":
            found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header cannot ask for memory
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever comes up in their readers
        raise UsageError(f"--gradient {str(path)!r} cannot be read ({type(error).__name__}); give {FORMS}") from error
    if isinstance(found, np.ndarray):
        if not np.issubdtype(found.dtype, np.floating):
            raise UsageError(f"--gradient {str(path)!r} is an array of {found.dtype}; it must hold floats")
        with np.errstate(over="ignore"):  # found below, as infinity
            return [torch.from_numpy(np.array(found, np.float32))]
    entries = found if isinstance(found, Mapping) else {"": found}
    for name, entry in entries.items():
        if not isinstance(entry, Tensor):
            raise UsageError(
                f"--gradient {str(path)!r} holds a {type(entry).__name__}{f' as {name!r}' if name else ''}; "
                "it must be a tensor, or a dict of tensors"
            )
    return [entry for entry in entries.values() if entry.is_floating_point()]


def _float32(path: Path, tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise UsageError(f"--gradient {str(path)!r} holds a {tensor.layout} tensor; each must be dense")
    if tensor.numel() > MAX_NUMEL:
        raise UsageError(
            f"--gradient {str(path)!r} holds {tensor.numel()} entries in a tensor, allowed are {MAX_NUMEL}"
        )
    values = tensor.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"--gradient {str(path)!r} holds NaN or infinity; only finite values can be sent")
    return values

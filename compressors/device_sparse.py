"""Sparse frames on a device: what is kept is chosen there; only that is copied to the CPU, which codes it as ever.

The kept set is exactly that of `select`: of equal magnitudes the lowest index, zeros and denormals never.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import blocktopk, index_code, strata
from kimad.compressors.compressor import Call
from kimad.compressors.device_blocks import check_finite, rows_of, sums
from kimad.compressors.frame import Header
from kimad.compressors.sparse import SparseCompressor, value_code
from kimad.compressors.tensors import TINY

_Choice = tuple[Tensor, Tensor]  # units, increasing, int64, and their values, flat
Chooser = Callable[[Tensor, int, Call], _Choice]


def select(magnitude: Tensor, k: int) -> Tensor:
    """Places of the k largest, increasing; of equal ones the first; none below the smallest normal float32."""
    cut = float(TINY)
    if k < magnitude.numel():
        cut = max(cut, float(torch.topk(magnitude, k, sorted=False).values.min()))
    keep = (magnitude >= cut).nonzero().view(-1)
    if len(keep) > k:  # ties at the cut: too many of them came through
        at_cut = (magnitude[keep] == cut).nonzero().view(-1)
        inside = torch.ones(len(keep), dtype=torch.bool, device=keep.device)
        inside[at_cut[k - len(keep) :]] = False
        keep = keep[inside]
    return keep


def _largest(values: Tensor, k: int, call: Call) -> _Choice:
    if k >= values.numel():  # a dense run
        return torch.arange(values.numel(), device=values.device), values
    check_finite(values, "topk")
    places = select(values.abs(), k)
    return places, values[places]


def _above(values: Tensor, k: int, call: Call) -> _Choice:
    check_finite(values, "topk")
    places = select(values.abs(), k)
    kept = values[places]
    reached = kept.abs() >= float(np.float32(call.option.threshold))
    return places[reached], kept[reached]


def _random(values: Tensor, k: int, call: Call) -> _Choice:
    places = torch.from_numpy(strata.places(call.key, values.numel(), k)).to(values.device)
    return places, values[places]


def _blocks(values: Tensor, k: int, call: Call) -> _Choice:
    rows = rows_of(values, blocktopk.UNIT)
    norms = sums(rows * rows)
    if not blocktopk.LOWEST < float(norms.max()) < inf:  # as there: squares may have left the range of float32
        check_finite(values, "blocktopk")
        scaled = rows * float(blocktopk.factor(float(values.abs().max())))
        norms = sums(scaled * scaled)
    norms = norms.sqrt()
    units = torch.arange(len(norms), device=values.device) if k >= len(norms) else select(norms, k)
    return units, rows[units].view(-1)


CHOOSERS: dict[str, Chooser] = {
    "topk": _largest,
    "threshold": _above,
    "randomk": _random,
    "blocktopk": _blocks,
}


def write(
    operator: SparseCompressor, values: Tensor, gradient: Tensor | None, body: Tensor, call: Call
) -> tuple[int, int, int]:
    """What `SparseCompressor.write` does. Raises NonFiniteError before anything is written to the body."""
    total, k = operator.units(values.numel(), call.option.k)
    code = value_code(call.option.values)
    number = index_code.SEEDED if operator.seeded else index_code.best(total, k, operator.fills) if k else 0
    if gradient is not None:
        values.add_(gradient)
    if not k:
        return code.code, number, 0
    units, chosen = CHOOSERS[operator.name](values, k, call)
    indices, kept = units.cpu().numpy().astype(np.int32), chosen.cpu().numpy()
    room = np.zeros(body.numel(), np.uint8)
    if indices.size:
        cut = index_code.body_bytes(total, indices.size, number)
        end = cut + code.body_bytes(kept.size)
        index_code.encode(indices, total, number, call.key, room[:cut])
        code.encode(kept, room[cut:end])
        if gradient is not None:
            decoded = torch.from_numpy(code.decode(room[cut:end], kept.size)).to(values.device)
            _add(operator, values, units, decoded, -1.0)
    body.copy_(torch.from_numpy(room))
    return code.code, number, indices.size


def read(operator: SparseCompressor, header: Header, body: Tensor, target: Tensor, scale: float) -> None:
    """What `SparseCompressor.read` does. Raises a FrameError before anything is written."""
    places, kept = operator.carried(header, body.cpu().numpy(), target.numel())
    if places.size:
        units, decoded = (torch.from_numpy(part).to(target.device) for part in (places, kept))
        _add(operator, target, units, decoded, scale)


def _add(operator: SparseCompressor, target: Tensor, units: Tensor, decoded: Tensor, scale: float) -> None:
    """target[places] += scale * decoded; right because places are unique."""
    places = units
    if operator.unit > 1:
        places = (units[:, None] * operator.unit + torch.arange(operator.unit, device=units.device)).view(-1)
        behind = int(units[-1] + 1) * operator.unit - target.numel()  # the last unit may not be full
        if behind > 0:
            places, decoded = places[:-behind], decoded[:-behind]
    if scale != 1:
        decoded = decoded * float(np.float32(scale))
    target[places] = target[places] + decoded  # not index_add: CUDA's atomic addition loses denormals

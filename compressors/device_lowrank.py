"""Low rank on a device: products and the orthonormal basis are computed there; the CPU codes P and Q.

Products and decompositions round differently on every device, so frames differ in their last bits from those of a CPU.
What they are decoded to does not: `lowrank` adds the terms one after the other, and so does this.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kimad.compressors.compressor import Call
from kimad.compressors.device_blocks import add_scaled, check_finite
from kimad.compressors.frame import Header
from kimad.compressors.lowrank import LowRank, matrix_of
from kimad.compressors.sparse import value_code

_AT_ONCE = 1 << 21  # entries of the product in a step
_TINY = torch.finfo(torch.float32).tiny
_LARGEST = torch.finfo(torch.float32).max


def write(operator: LowRank, values: Tensor, gradient: Tensor | None, body: Tensor, call: Call) -> tuple[int, int, int]:
    """What `LowRank.write` does. Raises NonFiniteError before anything is written to the body."""
    if gradient is not None:
        values.add_(gradient)
    rows, columns, rank = matrix_of(call.shape, call.option.k)
    code = value_code(call.option.values)
    sent = values
    if rank:
        if isinstance(call.warm, Tensor):
            call = replace(call, warm=call.warm.cpu())
        start = torch.from_numpy(operator.start(call, rows, columns, rank)).to(values.device)
        sent = factors(values.view(rows, columns), start)
    room = np.empty(body.numel(), np.uint8)
    room[:4].view("<u4")[0] = rows
    if sent.numel():
        code.encode(sent.cpu().numpy(), room[4:])
        if gradient is not None:
            decoded = torch.from_numpy(code.decode(room[4:], sent.numel())).to(values.device)
            _add(values, decoded, rows, rank, -1.0)
    body.copy_(torch.from_numpy(room))
    return code.code, 0, rank


def read(operator: LowRank, header: Header, body: Tensor, target: Tensor, scale: float) -> None:
    """What `LowRank.read` does. Raises a FrameError before anything is written."""
    rows, rank, sent = operator.carried(header, body.cpu().numpy(), target.numel())
    if sent.size:
        _add(target, torch.from_numpy(sent).to(target.device), rows, rank, scale)


def _add(target: Tensor, sent: Tensor, rows: int, rank: int, scale: float) -> None:
    """target += scale * P Q^T, or scale * sent for rank 0; one term after the other, the same bits on every device."""
    if not rank:
        add_scaled(target, sent, scale)
        return
    columns = target.numel() // rows
    p, q = sent[: rows * rank].view(rows, rank), sent[rows * rank :].view(columns, rank).T.contiguous()
    at_once = max(1, _AT_ONCE // columns)
    for first in range(0, rows, at_once):
        part = p[first : first + at_once]
        product = part[:, :1] * q[0]
        for j in range(1, rank):
            product += part[:, j : j + 1] * q[j]
        add_scaled(target[first * columns : (first + len(part)) * columns], product.view(-1), scale)


def factors(matrix: Tensor, start: Tensor) -> Tensor:
    """P and Q of one power iteration from `start`, one after the other, flat. Raises NonFiniteError."""
    check_finite(matrix, "lowrank")
    wide = start.double()
    wide /= 2 * wide.abs().sum(dim=0).clamp_(min=_TINY)  # the product's entries are below the matrix's largest
    p = torch.linalg.qr((matrix @ wide.to(torch.float32)).double()).Q.to(torch.float32)
    size = float(matrix.abs().max())
    limit = min(_LARGEST / 2, _LARGEST - size) / (1.01 * start.shape[1])  # P Q^T, and M less that, stay finite
    q = torch.nan_to_num(matrix.T @ p, nan=0.0, posinf=limit, neginf=-limit).clamp_(-limit, limit)
    return torch.cat([p.reshape(-1), q.reshape(-1)])

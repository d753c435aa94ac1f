"""What frames and values must be before a device works on them: the checks that the operators' `read` makes."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor

from kimad.compressors import index_code
from kimad.compressors.compressor import Compressor
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.errors import (
    BadIndexCode,
    BadShape,
    CountMismatch,
    CountTooLarge,
    FrameTooShort,
    NonFiniteError,
    TrailingBytes,
    UnknownValueCode,
    WrongLength,
)
from kimad.compressors.frame import Header
from kimad.compressors.lowrank import LowRank, check_product
from kimad.compressors.sparse import ALL_VALUE_CODES, SparseCompressor
from kimad.compressors.tensors import Bytes, Floats, Indices
from kimad.compressors.value_code import ValueCode


@final
class Kept(NamedTuple):
    """What a sparse frame carries."""

    units: Indices
    values: Floats  # perhaps in scratch memory


@final
class Factors(NamedTuple):
    """What a frame of low rank carries."""

    rows: int
    rank: int  # 0: the whole tensor
    sent: Floats  # P, then Q, or the tensor; perhaps in scratch memory


def check_finite(values: Tensor, name: str) -> None:
    """Raise NonFiniteError if NaN or infinity is among the values; one look at the device."""
    if values.numel():
        low, high = torch.stack(torch.aminmax(values)).tolist()  # both are NaN if any value is
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NonFiniteError(f"{name}: NaN or infinity among {values.numel()} values")


def check_dense(operator: DenseCompressor, header: Header, body_bytes: int, n: int) -> None:
    """Raise a FrameError unless the header fits a dense frame of n entries and of this length."""
    levels = header.value_code
    if not (1 <= levels <= operator.max_k if operator.counts else levels == 0):
        allowed = f"from 1 to {operator.max_k}" if operator.counts else "0"
        raise UnknownValueCode(f"value code {levels} in a frame of {operator.name}, must be {allowed}")
    if header.index_code:
        raise BadIndexCode(f"index code {header.index_code} in a dense frame, must be 0")
    if header.entries != n:
        raise CountMismatch(f"dense frame with {header.entries} entries of a tensor that has {n}")
    scales = 4 * -(-n // 256) if operator.scaled else 0
    _check_length(operator, body_bytes, scales + operator.code_bytes(n, levels))


def read_sparse(operator: SparseCompressor, header: Header, body: Bytes, n: int) -> Kept:
    """Return what a sparse frame carries, all of it checked. Raises a FrameError."""
    count, number = header.entries, header.index_code
    total, _ = operator.units(n, 0)
    code = _value_code(operator, header)
    if operator.seeded != (number == index_code.SEEDED):
        raise BadIndexCode(f"index code {number} in a frame of {operator.name}")
    if count > total:
        raise CountTooLarge(f"frame announces {count} blocks of a tensor that has {total}")
    index_code.check(total, count, number)
    size = count * operator.unit
    cut = index_code.body_bytes(total, count, number)
    end = cut + (code.body_bytes(size) if count else 0)
    if body.size < end:
        raise FrameTooShort(f"body of {body.size} bytes: {count} entries need {end}")
    if body.size > end and body[end:].any():
        raise TrailingBytes(f"the {body.size - end} bytes behind {count} entries are not all zero")
    if not count:
        return Kept(torch.empty(0, dtype=torch.int64).numpy(), torch.empty(0).numpy())
    return Kept(index_code.decode(body[:cut], total, count, number), code.decode(body[cut:end], size))


def read_lowrank(operator: LowRank, header: Header, body: Bytes, n: int) -> Factors:
    """Return what a frame of low rank carries, all of it checked. Raises a FrameError."""
    rank, code = header.entries, _value_code(operator, header)
    if header.index_code:
        raise BadIndexCode(f"index code {header.index_code} in a frame of lowrank, must be 0")
    if body.size < 4:
        _check_length(operator, body.size, 4)
    rows = int(body[:4].view("<u4")[0])
    if not rows or n % rows or rank > min(rows, n // rows) or (not rank and rows != 1):
        raise BadShape(f"{rows} rows of rank {rank} in a tensor of {n} entries")
    size = rank * (rows + n // rows) or n
    _check_length(operator, body.size, 4 + code.body_bytes(size))
    sent = code.decode(body[4:], size) if size else torch.empty(0).numpy()
    check_product(sent, rows, rank)
    return Factors(rows, rank, sent)


def _value_code(operator: Compressor, header: Header) -> ValueCode:
    known = {code.code: code for code in ALL_VALUE_CODES if code.name in operator.value_codes}
    try:
        return known[header.value_code]
    except KeyError:
        raise UnknownValueCode(f"value code number {header.value_code}, known are {sorted(known)}") from None


def _check_length(operator: Compressor, found: int, needed: int) -> None:
    announced = f"its header announces {'only ' * (found > needed)}{operator.header_bytes + needed}"
    if found != needed:
        error = FrameTooShort if found < needed else WrongLength
        raise error(f"frame of {operator.header_bytes + found} bytes: {announced}")

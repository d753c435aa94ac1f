"""A matrix as the product of two thin ones: one power iteration (PowerSGD, Vogels et al., arXiv:1905.13727).

    P = orthonormal basis of M Q_0 (m x r)        Q = M^T P (n x r)        C(M) = P Q^T

M is the tensor with its first dimension as rows. Q_0 is the Q of the frame before, or random from the key: the better
it is, the better the basis. Each rank's frame is its own; nothing is averaged before the product. What has fewer than
two dimensions, or is smaller than P and Q, travels whole in the chosen value code.

    body: m (uint32) | P, row by row, then Q, row by row, or the whole tensor (a value code)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import frame as framing
from kimad.compressors.compressor import Call, Compressor, ErrorCurve, Promise, check_parameters
from kimad.compressors.errors import (
    BadIndexCode,
    BadShape,
    FrameError,
    NonFiniteError,
    NonFiniteValues,
    OptionError,
    UnknownValueCode,
)
from kimad.compressors.frame import Header
from kimad.compressors.noise import uniform
from kimad.compressors.option import Option
from kimad.compressors.scratch import CHUNK, SCRATCH, add_scaled
from kimad.compressors.tensors import TINY, Bytes, Floats, frame_bytes, numel
from kimad.compressors.value_code import ValueCode
from kimad.compressors.value_codes import BFLOAT16, FLOAT32

MAX_RANK = 1024
_ROWS_BYTES = 4
_CODES: tuple[ValueCode, ...] = (FLOAT32, BFLOAT16)
_BY_NAME = {code.name: code for code in _CODES}
_BY_NUMBER = {code.code: code for code in _CODES}


def matrix_of(shape: Sequence[int], rank: int) -> tuple[int, int, int]:
    """Rows, columns and rank of the matrix that a tensor is; rank 0 if the tensor travels whole."""
    n = numel(shape)
    rows = int(shape[0]) if len(shape) > 1 else 0
    if not n or not rows:
        return 1, n, 0
    columns = n // rows
    rank = min(rank, rows, columns)
    return (rows, columns, rank) if rank * (rows + columns) < n else (1, n, 0)


@final
class LowRank(Compressor):
    """C(M) = P Q^T of rank `Option.k`."""

    name = "lowrank"
    code = 13
    counts = "rank"
    warm = True
    value_codes = tuple(_BY_NAME)

    def body_bytes(self, shape: Sequence[int], option: Option) -> int:
        check_parameters(self, option)
        if not 1 <= option.k <= MAX_RANK:
            raise OptionError(f"rank is {option.k}, must be from 1 to {MAX_RANK}")
        rows, columns, rank = matrix_of(shape, option.k)
        sent = rank * (rows + columns) or rows * columns
        return _ROWS_BYTES + _BY_NAME[option.values].body_bytes(sent)

    def write(self, values: Floats, gradient: Floats | None, body: Bytes, call: Call) -> tuple[int, int, int]:
        if gradient is not None:
            np.add(values, gradient, out=values)
        rows, columns, rank = matrix_of(call.shape, call.option.k)
        code = _BY_NAME[call.option.values]
        body[:_ROWS_BYTES].view("<u4")[0] = rows
        sent = values
        if rank:
            start = self.start(call, rows, columns, rank)
            sent = factors(values.reshape(rows, columns), start)
        if sent.size:
            code.encode(sent, body[_ROWS_BYTES:])
        if gradient is not None and sent.size:
            self._add(values, code.decode(body[_ROWS_BYTES:], sent.size), rows, rank, np.float32(-1))
        return code.code, 0, rank

    def start(self, call: Call, rows: int, columns: int, rank: int) -> Floats:
        """Q_0: that of the frame before if it is one of this matrix and rank, random columns where it is zero."""
        start = np.empty(columns * rank, np.float32)
        uniform(call.key, 0, start)
        start -= np.float32(0.5)
        q: Floats = start.reshape(columns, rank)
        before = None if call.warm is None else self._factor(call.warm, rows, columns, rank)
        if before is not None:
            used = np.abs(before).max(axis=0, initial=0) > 0
            q[:, used] = before[:, used]
        return q

    def _factor(self, warm: Tensor, rows: int, columns: int, rank: int) -> Floats | None:
        """Q of a frame; None if it is not a frame of such a product."""
        raw = frame_bytes(warm, "warm")
        try:
            header = framing.parse(raw, self.code, rows * columns)
            code = _BY_NUMBER.get(header.value_code)
            if code is None or header.entries != rank:
                return None
            size = self.header_bytes + _ROWS_BYTES + code.body_bytes(rank * (rows + columns))
            framing.check_length(raw.size, size, 0)
            sent = code.decode(raw[self.header_bytes + _ROWS_BYTES :], rank * (rows + columns))
        except FrameError:
            return None
        q: Floats = sent[rows * rank :].reshape(columns, rank)
        return q

    def read(self, header: Header, body: Bytes, target: Floats, scale: float) -> None:
        rows, rank, sent = self.carried(header, body, target.size)
        if sent.size:
            self._add(target, sent, rows, rank, np.float32(scale))

    def carried(self, header: Header, body: Bytes, n: int) -> tuple[int, int, Floats]:
        """Rows, rank, and P and Q or the whole tensor, perhaps in scratch memory. Raises a FrameError."""
        rank = header.entries
        code = _BY_NUMBER.get(header.value_code)
        if code is None:
            raise UnknownValueCode(f"value code number {header.value_code}, known are {sorted(_BY_NUMBER)}")
        if header.index_code:
            raise BadIndexCode(f"index code {header.index_code} in a frame of lowrank, must be 0")
        if body.size < _ROWS_BYTES:
            framing.check_length(body.size, _ROWS_BYTES, self.header_bytes)
        rows = int(body[:_ROWS_BYTES].view("<u4")[0])
        if not rows or n % rows or rank > min(rows, n // rows) or (not rank and rows != 1):
            raise BadShape(f"{rows} rows of rank {rank} in a tensor of {n} entries")
        size = rank * (rows + n // rows) or n
        framing.check_length(body.size, _ROWS_BYTES + code.body_bytes(size), self.header_bytes)
        sent = code.decode(body[_ROWS_BYTES:], size) if size else np.empty(0, np.float32)
        check_product(sent, rows, rank)
        return rows, rank, sent

    def _add(self, target: Floats, sent: Floats, rows: int, rank: int, scale: np.float32) -> None:
        """target += scale * what was sent."""
        columns = target.size // rows
        if not rank:
            add_scaled(target, sent, float(scale))
            return
        p = sent[: rows * rank].reshape(rows, rank)
        q = np.ascontiguousarray(sent[rows * rank :].reshape(columns, rank).T)
        at_once = max(1, CHUNK // columns)
        for first in range(0, rows, at_once):
            part = p[first : first + at_once]
            product = SCRATCH.get("product", part.shape[0] * columns, np.float32).reshape(-1, columns)
            term = SCRATCH.get("term", product.size, np.float32).reshape(-1, columns)
            np.multiply(part[:, :1], q[0], out=product)  # one term after the other: the same bits with every BLAS
            for j in range(1, rank):
                np.multiply(part[:, j : j + 1], q[j], out=term)
                np.add(product, term, out=product)
            add_scaled(target[first * columns : (first + len(part)) * columns], product.ravel(), float(scale))

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """All of the energy: magnitudes tell nothing of a matrix's rank."""
        return np.full(k.shape, curve.total, np.float64)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """A projection loses no more than everything; a tensor that travels whole, what the value code loses."""
        whole = matrix_of(shape, option.k)[2] == 0
        return Promise(_BY_NAME[option.values].worst if whole else 1.0 + 1e-4)


def check_product(sent: Floats, rows: int, rank: int) -> None:
    """Raise NonFiniteValues if a sum of products of P and Q, one after the other in `sent`, might overflow."""
    p, q = (float(np.abs(part).max(initial=0)) for part in np.split(sent, [rows * rank]))
    if rank * p * q > float(np.finfo(np.float32).max):
        raise NonFiniteValues(f"{rank} products of magnitudes up to {p:g} and {q:g} may sum to infinity")


def factors(matrix: Floats, start: Floats) -> Floats:
    """P and Q of one power iteration from `start` (columns, rank), one after the other, flat. Raises NonFiniteError."""
    size = max(float(matrix.max()), -float(matrix.min()))
    if not np.isfinite(size):
        raise NonFiniteError(f"lowrank: NaN or infinity among {matrix.size} values")
    wide = start.astype(np.float64)
    wide /= 2 * np.maximum(np.abs(wide).sum(axis=0), float(TINY))  # products stay below the matrix's largest entry
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        p = np.linalg.qr((matrix @ wide.astype(np.float32)).astype(np.float64))[0].astype(np.float32)
        q = matrix.T @ p
    largest = float(np.finfo(np.float32).max)
    limit = min(largest / 2, largest - size) / (1.01 * start.shape[1])  # P Q^T, and M less that, stay finite
    q = np.clip(np.nan_to_num(q, nan=0.0, posinf=limit, neginf=-limit), -limit, limit)
    return np.concatenate([p.ravel(), q.ravel()])

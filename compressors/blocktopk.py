"""The blocks of 32 entries with the most energy: an index for 32 values, and memory read in whole lines.

Block sparsification as in OmniReduce (Fei et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.blocks import sums
from kimad.compressors.compressor import Call, ErrorCurve, Promise
from kimad.compressors.errors import NonFiniteError
from kimad.compressors.option import Option
from kimad.compressors.scratch import CHUNK, SCRATCH, chunks
from kimad.compressors.select import select
from kimad.compressors.sparse import SparseCompressor, value_code
from kimad.compressors.tensors import Floats, Indices, numel

UNIT = 32  # entries of a block
LOWEST = 2.0**-60  # of the largest block's energy; below it, or where it is infinite, values are scaled first


def factor(size: float) -> np.float32:
    """A power of two that brings magnitudes of up to `size` to about 1."""
    _, exponent = np.frexp(size)
    power: np.float32 = np.ldexp(np.float32(1), np.clip(-exponent, -126, 126))
    return power


def _add_squares(piece: Floats, scale: np.float32, norms: Floats) -> None:
    """Write ||scale v_b||^2 of each block of a piece to the start of `norms`."""
    blocks = -(-piece.size // UNIT)
    squares = SCRATCH.get("blocktopk", blocks * UNIT, np.float32)
    own = squares[: piece.size]
    squares[piece.size :] = 0
    with np.errstate(over="ignore"):
        if scale == 1:
            np.multiply(piece, piece, out=own)
        else:
            np.multiply(piece, scale, out=own)
            np.multiply(own, own, out=own)
        norms[:blocks] = sums(squares.reshape(-1, UNIT))


@final
class BlockTopK(SparseCompressor):
    """C(v)_i = v_i, in the chosen value code, in the k / 32 blocks of largest ||v_b||, else 0."""

    name = "blocktopk"
    code = 8
    unit = UNIT

    def choose(self, values: Floats, gradient: Floats | None, k: int, call: Call) -> tuple[Indices, Floats]:
        n = values.size
        norms = np.zeros(-(-n // UNIT), np.float32)
        for part in chunks(n, CHUNK):
            piece = values[part]
            if gradient is not None:
                np.add(piece, gradient[part], out=piece)
            _add_squares(piece, np.float32(1), norms[part.start // UNIT :])
        if not LOWEST < norms.max() < np.inf:  # squares may have left the range of float32
            size = max(values.max(), -values.min())
            if not np.isfinite(size):
                raise NonFiniteError(f"blocktopk: NaN or infinity among {n} values")
            for part in chunks(n, CHUNK):
                _add_squares(values[part], factor(size), norms[part.start // UNIT :])
        np.sqrt(norms, out=norms)
        if k >= norms.size:
            indices = np.arange(norms.size, dtype=np.int32)
        else:
            indices, _ = select(norms, k, call.key)
        kept = np.zeros((indices.size, UNIT), np.float32)
        full = indices.size - int(indices.size > 0 and indices[-1] == n // UNIT)
        kept[:full] = values[: n // UNIT * UNIT].reshape(-1, UNIT)[indices[:full]]
        if full < indices.size:
            kept[-1, : n % UNIT] = values[n // UNIT * UNIT :]
        return indices.copy(), kept.ravel()

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """Between top-k and random-k; the mean of both, for a curve knows nothing of neighbours. Raises OptionError."""
        found = (curve.kept(k) + curve.total * k / max(1, curve.numel)) / 2
        return np.asarray(curve.total - (1 - value_code(values).error) * found, np.float64)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """1 - (1 - rho) x kept blocks / blocks."""
        total, k = self.units(numel(shape), option.k)
        return Promise(1 - (1 - value_code(option.values).worst) * k / max(1, total))

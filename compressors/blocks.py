"""Blocks of 256 entries that share a float32 scale.

Block-wise absmax scales as in 8-bit approximations for data parallelism (Dettmers, arXiv:1511.04561). A block whose
scale is below the smallest normal float32 counts as zero: it has too few bits.
"""

from __future__ import annotations

import numpy as np

from kimad.compressors.errors import NonFiniteError, NonFiniteScale
from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import TINY, Bytes, Floats

BLOCK = 256  # entries that share a scale
LARGEST = np.float32(np.finfo(np.float32).max / 128)  # with a larger one, a damaged code could decode to infinity


def blocks_of(n: int) -> int:
    """ceil(n / 256)."""
    return -(-n // BLOCK)


def magnitudes(values: Floats) -> Floats:
    """|v| in rows of 256, (blocks, 256), zeros behind the end; in scratch memory."""
    work = SCRATCH.get("blocks", blocks_of(values.size) * BLOCK, np.float32)
    np.abs(values, out=work[: values.size])
    work[values.size :] = 0
    rows: Floats = work.reshape(-1, BLOCK)
    return rows


def largest(values: Floats) -> Floats:
    """The largest magnitude of each block, (blocks,). Raises NonFiniteError."""
    top: Floats = magnitudes(values).max(axis=1)
    if not np.isfinite(top).all():
        raise NonFiniteError(f"NaN or infinity among {values.size} values, only finite ones can be sent")
    return top


def times(values: Floats, factors: Floats) -> Floats:
    """Every value times the factor of its block, (n,) in scratch memory, which may be overwritten."""
    n = values.size
    work = SCRATCH.get("blocks", blocks_of(n) * BLOCK, np.float32)
    whole = n // BLOCK
    middle = whole * BLOCK
    np.multiply(values[:middle].reshape(-1, BLOCK), factors[:whole, None], out=work[:middle].reshape(-1, BLOCK))
    np.multiply(values[middle:], factors[whole:], out=work[middle:n])
    scaled: Floats = work[:n]
    return scaled


def sums(rows: Floats) -> Floats:
    """The sum of each row, (rows,): the right half is added onto the left one until one column is left, in place.

    A written order of additions gives the same bits with every library and device. Widths are powers of two.
    """
    width = rows.shape[1]
    while width > 16:
        width //= 2
        np.add(rows[:, :width], rows[:, width : 2 * width], out=rows[:, :width])
    columns = np.ascontiguousarray(rows[:, :width].T)  # numpy is slow at short rows
    while width > 1:
        width //= 2
        np.add(columns[:width], columns[width : 2 * width], out=columns[:width])
    total: Floats = columns[0]
    return total


def inverse(scales: Floats) -> Floats:
    """1 / s, and 0 for the scale 0."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales > 0)


def usable(scales: Floats) -> Floats:
    """Scales that may be written: denormal ones become 0, those above LARGEST become LARGEST. In place."""
    np.minimum(scales, LARGEST, out=scales)
    scales[scales < TINY] = 0
    return scales


def expand(codes: Floats, scales: Floats) -> None:
    """codes *= scale of its block, (n,), in place."""
    whole = codes.size // BLOCK
    middle = whole * BLOCK
    rows = codes[:middle].reshape(-1, BLOCK)
    np.multiply(rows, scales[:whole, None], out=rows)
    np.multiply(codes[middle:], scales[whole:], out=codes[middle:])


def read_scales(body: Bytes, n: int) -> Floats:
    """Read and check the scales of n values, (blocks,). Raises NonFiniteScale."""
    scales = body[: 4 * blocks_of(n)].view("<f4").astype(np.float32)
    valid = (scales >= 0) & (scales <= LARGEST)  # false for NaN too
    if not valid.all():
        block = int(np.argmin(valid))
        raise NonFiniteScale(f"scale {scales[block]} of block {block}, must be from 0 to {LARGEST}")
    return scales

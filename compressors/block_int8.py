"""Linear 8-bit quantization in blocks of 256 with one float32 scale each, shared by `int8` and the values of `topk`.

    s_b = max_{i in b} |v_i| / 127        q_i = round(v_i / s_b), half to even, in -127..127        decoded_i = s_b q_i

Body: ceil(n / 256) scales (float32), then n integers (int8). Block-wise absmax scales as in 8-bit approximations for
data parallelism (Dettmers, arXiv:1511.04561), there with other codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.errors import NonFiniteError, NonFiniteScale
from kimad.compressors.scratch import SCRATCH, chunks
from kimad.compressors.tensors import TINY, Bytes, Floats

BLOCK = 256  # entries that share a scale
_LEVELS = np.float32(127)
_LARGEST = np.float32(np.finfo(np.float32).max / 128)  # with a larger one, a damaged code could decode to infinity


def body_bytes(n: int) -> int:
    """4 ceil(n / 256) + n bytes for n values."""
    return 4 * -(-n // BLOCK) + n


def scales_of(body: Bytes, n: int) -> Floats:
    """Read and check the scales of n values. Raises NonFiniteScale."""
    scales = body[: 4 * -(-n // BLOCK)].view("<f4").astype(np.float32)
    valid = (scales >= 0) & (scales <= _LARGEST)  # false for NaN too
    if not valid.all():
        block = int(np.argmin(valid))
        raise NonFiniteScale(f"scale {scales[block]} of block {block}, must be from 0 to {_LARGEST}")
    return scales


def quantize(values: Floats, body: Bytes) -> None:
    """Write n float32 values to `body` of `body_bytes(n)` bytes. Raises NonFiniteError."""
    n = values.size
    blocks = -(-n // BLOCK)
    scales = body[: 4 * blocks].view("<f4")
    codes = body[4 * blocks :].view(np.int8)
    for part in chunks(n):
        size = part.stop - part.start
        padded = -(-size // BLOCK) * BLOCK
        work = SCRATCH.get("block_int8", padded, np.float32)
        rows = work.reshape(-1, BLOCK)
        np.abs(values[part], out=work[:size])
        work[size:] = 0
        scale = rows.max(axis=1)
        np.divide(scale, _LEVELS, out=scale)
        if not np.isfinite(scale).all():
            raise NonFiniteError(f"int8: NaN or infinity among values {part.start} to {part.stop}")
        saturated = bool((scale > _LARGEST).any())
        np.minimum(scale, _LARGEST, out=scale)
        scale[scale < TINY] = 0  # a denormal scale has too few bits: such a block counts as zero
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
        whole = size // BLOCK
        middle = part.start + whole * BLOCK
        np.multiply(values[part.start : middle].reshape(-1, BLOCK), inverse[:whole, None], out=rows[:whole])
        np.multiply(values[middle : part.stop], inverse[whole:], out=work[whole * BLOCK : size])
        np.rint(work, out=work)
        if saturated:
            np.clip(work, -_LEVELS, _LEVELS, out=work)
        np.copyto(codes[part], work[:size], casting="unsafe")
        first = part.start // BLOCK
        scales[first : first + scale.size] = scale


def dequantize(body: Bytes, scales: Floats, part: slice, n: int) -> Floats:
    """Return the decoded values of `part`, which starts at a block's start, in scratch memory of this thread."""
    size = part.stop - part.start
    first = part.start // BLOCK
    blocks = -(-size // BLOCK)
    codes: NDArray[np.int8] = body[4 * -(-n // BLOCK) :].view(np.int8)
    work = SCRATCH.get("block_int8", blocks * BLOCK, np.float32)
    np.copyto(work[:size], codes[part])
    work[size:] = 0
    rows = work.reshape(-1, BLOCK)
    np.multiply(rows, scales[first : first + blocks, None], out=rows)
    decoded: Floats = work[:size]
    return decoded

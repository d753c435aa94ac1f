"""Kept values in four bits: the sign, and which of 8 magnitudes, evenly spaced in log2 between a block's ends.

    level_c = 2^((low + round(span c / 7)) / 256), c = 0..7        decoded_i = sign_i level_{c_i}

`low` and `span` are 16-bit integers in units of 1/256 octave, one pair for every 256 values. Fixed point is finer here
than float16 (which has 1/64 octave at 2^-20), cannot be infinite, and needs integers alone to decode: exp2 differs from
machine to machine in the last bit, and ranks must not. The encoder takes the level that is nearest to the value, not to
its logarithm, which is what squared error asks for.

Body: ceil(k / 256) low (int16) | as many span (int16) | k nibbles: sign in the highest bit, c below.
"""

from __future__ import annotations

from math import isfinite
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import packing
from kimad.compressors.errors import NonFiniteError, NonFiniteScale
from kimad.compressors.scratch import SCRATCH, chunks
from kimad.compressors.tensors import TINY, Bytes, Floats
from kimad.compressors.value_code import ValueCode

Fixed: TypeAlias = NDArray[np.int16]

BLOCK = 256  # values that share low and span
UNIT = 256  # fixed-point steps an octave
_UNIT = np.float32(UNIT)
MAX_SPAN = 8 * UNIT  # wider blocks would pay for their smallest values with coarse levels for their largest
_LOWEST = -126 * UNIT  # the smallest normal float32
_HIGHEST = 128 * UNIT - 1  # just below 2^128


def _all_levels() -> Floats:
    """Return 2^(x / 256) for every x from _LOWEST to _HIGHEST, then their negatives; made of integers alone."""
    mantissa = np.array([round((2 ** (j / UNIT) - 1) * 2**23) for j in range(UNIT)], np.int32)
    exponent = np.arange(_LOWEST // UNIT, _HIGHEST // UNIT + 1, dtype=np.int32)
    bits = ((exponent + 127) << 23)[:, None] + mantissa
    levels: Floats = bits.ravel().view(np.float32)
    return np.concatenate([levels, -levels])


_LEVELS = _all_levels()

# Places in _LEVELS of a block's 16 signed levels, for every span, if low is 0.
_PLACES = (2 * np.arange(MAX_SPAN + 1)[:, None] * np.arange(8) + 7) // 14 - _LOWEST  # + 7: rounds to nearest
_PLACES = np.concatenate([_PLACES, _PLACES + _LEVELS.size // 2], axis=1)

# For every span: levels an octave, and 1 - m, where m is how far from one level to the next the latter becomes nearer.
_OCTAVES = np.maximum(np.arange(MAX_SPAN + 1), 1) / (7 * UNIT)
_PER_OCTAVE = (1 / _OCTAVES).astype(np.float32)
_SHIFT = (1 - np.log2((1 + np.exp2(_OCTAVES)) / 2) / _OCTAVES).astype(np.float32)


@final
class Log4Values(ValueCode):
    """Sign and 3-bit log2 magnitude, 1/2 + 1/64 bytes a value."""

    name = "log4"
    code = 3
    error = 0.9e-2
    worst = 0.15  # levels are at most 2^(8/7) apart, and what is far below them is small beside the block's largest

    def body_bytes(self, k: int) -> int:
        """4 ceil(k / 256) + ceil(k / 2) bytes."""
        return 4 * -(-k // BLOCK) + packing.packed_bytes(k, 4)

    def encode(self, values: Floats, body: Bytes) -> None:
        """Write the nearest levels. Raises NonFiniteError."""
        k = values.size
        blocks = -(-k // BLOCK)
        low, span, codes = _parts(body, blocks)
        for part in chunks(k):
            own = slice(part.start // BLOCK, -(-part.stop // BLOCK))
            _quantize(values[part], low[own], span[own], codes[part.start // 2 : (part.stop + 1) // 2])

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the levels. Raises NonFiniteScale or TrailingBytes."""
        fixed_low, fixed_span, codes = _parts(body, -(-k // BLOCK))
        low, span = fixed_low.astype(np.intp), fixed_span.astype(np.intp)
        if low.min() < _LOWEST or span.min() < 0 or span.max() > MAX_SPAN or (low + span).max() > _HIGHEST:
            raise NonFiniteScale(
                f"magnitudes of 2^({low.min()}/{UNIT}) to 2^({(low + span).max()}/{UNIT}), spans {span.min()} to "
                f"{span.max()}; allowed are exponents from {_LOWEST} to {_HIGHEST} and spans from 0 to {MAX_SPAN}"
            )
        values = np.empty(k, np.float32)
        for part in chunks(k):
            own = slice(part.start // BLOCK, -(-part.stop // BLOCK))
            _dequantize(codes[part.start // 2 : (part.stop + 1) // 2], low[own], span[own], values[part])
        return values


def _parts(body: Bytes, blocks: int) -> tuple[Fixed, Fixed, Bytes]:
    """low, (blocks,), span, (blocks,), and codes."""
    fixed = body[: 4 * blocks].view("<i2")
    return fixed[:blocks], fixed[blocks:], body[4 * blocks :]


def _quantize(values: Floats, lows: Fixed, spans: Fixed, codes: Bytes) -> None:
    """One piece of whole blocks, but for the last."""
    k = values.size
    width = min(k, BLOCK)  # a single short block needs no padding
    work = SCRATCH.get("log4", lows.size * width, np.float32)
    np.abs(values, out=work[:k])
    np.maximum(work[:k], TINY, out=work[:k])  # a zero, which only some operators keep, becomes the lowest level
    np.log2(work[:k], out=work[:k])
    work[k:] = work[k - 1]
    rows = work.reshape(-1, width)
    highest = np.maximum.reduce(rows, axis=1)
    if not isfinite(highest.max()):
        raise NonFiniteError(f"log4: NaN or infinity among {k} values")
    top = np.minimum(np.rint(highest * _UNIT), _HIGHEST)
    low = np.rint(np.minimum.reduce(rows, axis=1) * _UNIT)
    low = np.minimum(np.maximum(low, top - MAX_SPAN), top)
    span = (top - low).astype(np.intp)
    lows[:], spans[:] = low, span
    low /= _UNIT
    rows -= low[:, None]
    rows *= _PER_OCTAVE.take(span)[:, None]
    rows += _SHIFT.take(span)[:, None]
    np.maximum(work, 0, out=work)
    np.minimum(work, 7, out=work)
    numbers = SCRATCH.get("log4 codes", k, np.uint8)
    np.copyto(numbers, work[:k], casting="unsafe")  # truncates, which is floor here
    numbers |= np.signbit(values).view(np.uint8) << 3
    packing.pack(numbers, 4, codes)


def _dequantize(codes: Bytes, low: NDArray[np.intp], span: NDArray[np.intp], out: Floats) -> None:
    """The same back. Raises TrailingBytes."""
    k = out.size
    numbers = packing.unpack(codes, 4, k)
    places = _PLACES.take(span, axis=0)
    places += low[:, None]
    levels = _LEVELS.take(places.ravel())
    padded = SCRATCH.get("log4 places", low.size * BLOCK, np.intp)
    padded[:k] = numbers
    padded[k:] = 0
    rows = padded.reshape(-1, BLOCK)
    rows += np.arange(0, 16 * low.size, 16)[:, None]
    np.take(levels, padded[:k], out=out, mode="clip")  # clip: with the default mode, numpy buffers `out`

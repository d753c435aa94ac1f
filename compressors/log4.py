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

from kimad.compressors import kernels, packing
from kimad.compressors.errors import NonFiniteError, NonFiniteScale
from kimad.compressors.scratch import SCRATCH, chunks
from kimad.compressors.tensors import Bytes, Floats
from kimad.compressors.value_code import ValueCode

Fixed: TypeAlias = NDArray[np.int16]

BLOCK = 256  # values that share low and span
UNIT = 256  # fixed-point steps an octave
MAX_SPAN = 8 * UNIT  # wider blocks would pay for their smallest values with coarse levels for their largest
_LOWEST = -126 * UNIT  # the smallest normal float32
_HIGHEST = 128 * UNIT - 1  # just below 2^128


def _all_levels() -> Floats:
    """Return 2^(x / 256) for every x from _LOWEST to _HIGHEST; made of integers alone."""
    mantissa = np.array([round((2 ** (j / UNIT) - 1) * 2**23) for j in range(UNIT)], np.int32)
    exponent = np.arange(_LOWEST // UNIT, _HIGHEST // UNIT + 1, dtype=np.int32)
    bits = ((exponent + 127) << 23)[:, None] + mantissa
    levels: Floats = bits.ravel().view(np.float32)
    return levels


LEVELS = _all_levels()

_BETWEEN = LEVELS[:-1] / 2 + LEVELS[1:] / 2  # from here on the next level is nearer

# How far a block's 8 levels are from low in LEVELS, for every span; + 7: rounds to nearest.
_PLACES = (2 * np.arange(MAX_SPAN + 1)[:, None] * np.arange(8) + 7) // 14


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
        written = kernels.log4_encode(values, LEVELS, body) if kernels.compiled() else _encode(values, body)
        if not written:
            raise NonFiniteError(f"log4: NaN or infinity among {values.size} values")

    def decode(self, body: Bytes, k: int) -> Floats:
        """Return the levels. Raises NonFiniteScale or TrailingBytes."""
        values: Floats = SCRATCH.get("kept values", k, np.float32)
        if not (kernels.compiled() and kernels.log4_decode(body, LEVELS, values)):
            _decode(body, values)  # which also tells what is wrong with it
        return values


def _encode(values: Floats, body: Bytes) -> bool:
    """What `kernels.log4_encode` does."""
    k = values.size
    lows, spans, codes = _parts(body, -(-k // BLOCK))
    for part in chunks(k):
        piece, own = values[part], slice(part.start // BLOCK, -(-part.stop // BLOCK))
        rows = _rows(piece)
        lowest, highest = rows.min(axis=1), rows.max(axis=1)
        if not isfinite(highest.max()):
            return False
        top = np.searchsorted(_BETWEEN, highest)
        low = np.maximum(np.searchsorted(_BETWEEN, lowest), top - MAX_SPAN)
        span = top - low
        np.add(low, _LOWEST, out=lows[own], casting="unsafe")
        spans[own] = span
        levels = _levels(low, span)
        middle = levels[:, :-1] / 2 + levels[:, 1:] / 2  # halves before the sum, which could be infinite
        numbers = SCRATCH.get("log4 codes", rows.size, np.uint8)
        above = SCRATCH.get("log4 above", rows.size, np.bool_).reshape(rows.shape)
        numbers.fill(0)
        for c in range(7):
            np.greater(rows, middle[:, c, None], out=above)
            numbers += above.view(np.uint8).ravel()
        numbers = numbers[: piece.size]
        numbers |= np.signbit(piece).view(np.uint8) << 3
        packing.pack(numbers, 4, codes[part.start // 2 : (part.stop + 1) // 2])
    return True


def _decode(body: Bytes, values: Floats) -> None:
    """What `kernels.log4_decode` does. Raises NonFiniteScale or TrailingBytes."""
    k = values.size
    fixed_low, fixed_span, codes = _parts(body, -(-k // BLOCK))
    low, span = fixed_low.astype(np.intp), fixed_span.astype(np.intp)
    if low.min() < _LOWEST or span.min() < 0 or span.max() > MAX_SPAN or (low + span).max() > _HIGHEST:
        raise NonFiniteScale(
            f"magnitudes of 2^({low.min()}/{UNIT}) to 2^({(low + span).max()}/{UNIT}), spans {span.min()} to "
            f"{span.max()}; allowed are exponents from {_LOWEST} to {_HIGHEST} and spans from 0 to {MAX_SPAN}"
        )
    low -= _LOWEST
    for part in chunks(k):
        own = slice(part.start // BLOCK, -(-part.stop // BLOCK))
        levels = _levels(low[own], span[own])
        places = SCRATCH.get("log4 places", len(levels) * BLOCK, np.intp)
        size = part.stop - part.start
        places[:size] = packing.unpack(codes[part.start // 2 : (part.stop + 1) // 2], 4, size)
        places[size:] = 0
        rows = places.reshape(-1, BLOCK)
        rows += np.arange(0, 16 * len(levels), 16)[:, None]
        signed = np.concatenate([levels, -levels], axis=1)
        # clip: with the default mode, numpy buffers `out`
        np.take(signed, places[:size], out=values[part], mode="clip")


def _parts(body: Bytes, blocks: int) -> tuple[Fixed, Fixed, Bytes]:
    """low, (blocks,), span, (blocks,), and codes."""
    fixed = body[: 4 * blocks].view("<i2")
    return fixed[:blocks], fixed[blocks:], body[4 * blocks :]


def _levels(low: NDArray[np.intp], span: NDArray[np.intp]) -> Floats:
    """The 8 magnitudes of each block, (blocks, 8); `low` as a place in LEVELS."""
    return LEVELS.take(low[:, None] + _PLACES.take(span, axis=0))


def _rows(values: Floats) -> Floats:
    """Magnitudes in blocks, (blocks, 256), the last one filled up with its last value; a short block as it is."""
    width = min(values.size, BLOCK)
    work = SCRATCH.get("log4", -(-values.size // width) * width, np.float32)
    np.abs(values, out=work[: values.size])
    work[values.size :] = work[values.size - 1]
    rows: Floats = work.reshape(-1, width)
    return rows

"""Numbers of 1, 2 or 4 bits in bytes, the first in the lowest bits."""

from __future__ import annotations

import numpy as np

from kimad.compressors.errors import TrailingBytes
from kimad.compressors.tensors import Bytes


def packed_bytes(k: int, bits: int) -> int:
    """ceil(k bits / 8) bytes, for bits = 1, 2, 4 or 8."""
    return (k * bits + 7) // 8


def pack(numbers: Bytes, bits: int, out: Bytes) -> None:
    """Write k numbers below 2^bits to `packed_bytes(k, bits)` bytes; `numbers` may be overwritten."""
    if bits == 8:
        np.copyto(out, numbers)
        return
    if bits == 1:
        out[:] = np.packbits(numbers, bitorder="little")
        return
    if bits == 2:
        fours = np.empty(packed_bytes(numbers.size, 4), np.uint8)
        _join(numbers, 2, fours)
        numbers = fours
    _join(numbers, 4, out)


def _join(numbers: Bytes, bits: int, out: Bytes) -> None:
    """Two numbers become one of twice as many bits."""
    pairs = numbers[: numbers.size & ~1].view("<u2")  # first | second << 8
    whole = pairs.size
    np.bitwise_or(pairs, pairs >> (8 - bits), out=pairs)
    np.copyto(out[:whole], pairs, casting="unsafe")  # keeps the low byte
    if numbers.size & 1:
        out[whole] = numbers[-1]


def unpack(packed: Bytes, bits: int, k: int) -> Bytes:
    """Return the k numbers, in new memory unless bits = 8. Raises TrailingBytes as `check_end` does."""
    check_end(packed, bits, k)
    if bits == 8:
        return packed[:k]
    if bits == 1:
        return np.unpackbits(packed, bitorder="little", count=k)
    numbers = _split(packed, 4)
    if bits == 2:
        numbers = _split(numbers, 2)
    return numbers[:k]


def _split(numbers: Bytes, bits: int) -> Bytes:
    """Every number becomes two of `bits` bits."""
    pairs = numbers.astype("<u2")
    np.bitwise_or(pairs, pairs << (8 - bits), out=pairs)
    np.bitwise_and(pairs, 0x0101 * ((1 << bits) - 1), out=pairs)
    return pairs.view(np.uint8)


def check_end(packed: Bytes, bits: int, k: int) -> None:
    """Raise TrailingBytes if the bits behind k packed numbers are not zero."""
    used = k * bits % 8
    if used and packed[-1] >> used:
        raise TrailingBytes(f"the bits behind {k} packed numbers are {packed[-1] >> used}, must be 0")

"""Two 4-bit numbers a byte, the first in the low half."""

from __future__ import annotations

import numpy as np

from kimad.compressors.errors import TrailingBytes
from kimad.compressors.tensors import Bytes


def packed_bytes(k: int) -> int:
    """ceil(k / 2) bytes."""
    return (k + 1) // 2


def pack(numbers: Bytes, out: Bytes) -> None:
    """Write k numbers below 16 to `packed_bytes(k)` bytes; `numbers` may be overwritten."""
    pairs = numbers[: numbers.size & ~1].view("<u2")  # first | second << 8
    whole = pairs.size
    np.bitwise_or(pairs, pairs >> 4, out=pairs)
    np.copyto(out[:whole], pairs, casting="unsafe")  # keeps the low byte
    if numbers.size & 1:
        out[whole] = numbers[-1]


def unpack(packed: Bytes, k: int) -> Bytes:
    """Return the k numbers. Raises TrailingBytes if the half byte behind an odd number is not zero."""
    if k & 1 and packed[-1] > 15:
        raise TrailingBytes(f"half a byte behind {k} packed numbers is {packed[-1] >> 4}, must be 0")
    pairs = packed.astype("<u2")
    np.bitwise_or(pairs, pairs << 4, out=pairs)
    np.bitwise_and(pairs, 0x0F0F, out=pairs)
    return pairs.view(np.uint8)[:k]

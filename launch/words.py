"""Numbers as the page has them; a dash for what is not known."""

from __future__ import annotations

import math

from kimad.launch.summary import size

DASH = "-"


def seconds(value: float | None) -> str:
    """Three digits.

    Example:
        >>> seconds(0.0421), seconds(25.26), seconds(None)
        ('42.1 ms', '25.3 s', '-')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.3g} s" if value >= 0.1 or value == 0 else f"{value * 1e3:.3g} ms"


def percents(value: float | None) -> str:
    """A share, with one digit after the point."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.1%}"


def size_or_dash(count_bytes: float | None) -> str:
    """Bytes; a dash for none."""
    return size(count_bytes) if count_bytes else DASH

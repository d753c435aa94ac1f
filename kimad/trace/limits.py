"""What a number of a trace or a link may be, and how it is written in messages and specs."""

from __future__ import annotations

import math
import re

from kimad.errors import KimadError

MAX_MBPS = 1e9  # Mbit/s; above any link, and far below what overflows when it is multiplied
MAX_S = 1e9  # s, about thirty years
MIN_S = 1e-6  # s; the shortest step or period

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.ASCII | re.IGNORECASE)
_SHOWN = 60  # characters of a text from outside that a message repeats


class LinkError(KimadError, ValueError):
    """A link spec that cannot be used: one line with what was given and what is allowed."""


class TraceError(LinkError):
    """A trace file that cannot be used: one line with the file, the line in it and the reason."""


def shown(text: str) -> str:
    """`text` in quotes, on one line, and cut where it is long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def shown_path(path: str) -> str:
    """`path` in quotes, on one line; of a long one the end, where the file's name is."""
    return repr(path if len(path) <= 2 * _SHOWN else "..." + path[3 - 2 * _SHOWN :])


def number(text: str) -> float:
    """The number that `text` is, in plain ASCII.

    Raises:
        ValueError: it is none.
    """
    if len(text) > 400 or _NUMBER.fullmatch(text.strip()) is None:
        raise ValueError("no number")
    return float(text)


def spelled(value: float) -> str:
    """The shortest text that `number` reads back as `value`."""
    short = f"{value:.12g}"
    return short if float(short) == value else repr(value)


def check_rates(kind: str, **rates_mbps: float) -> None:
    """Raises LinkError unless every rate is finite, 0 or more, and at most MAX_MBPS."""
    for name, value in rates_mbps.items():
        if not (math.isfinite(value) and value >= 0):
            raise LinkError(f"link {kind}: {name} is {value:g}; it must be a finite number of 0 or more")
        if value > MAX_MBPS:
            raise LinkError(f"link {kind}: {name} is {value:g}; it must be at most {MAX_MBPS:g} Mbit/s")


def check_seconds(kind: str, *, low: float = MIN_S, high: float = MAX_S, **times_s: float) -> None:
    """Raises LinkError unless every time lies between `low` and `high`."""
    for name, value in times_s.items():
        if not low <= value <= high:
            raise LinkError(f"link {kind}: {name} is {value:g}; it must be from {low:g} to {high:g} seconds")


def check_order(kind: str, low_mbps: float, high_mbps: float) -> None:
    """Raises LinkError unless LO and HI are rates and LO is not above HI."""
    check_rates(kind, LO=low_mbps, HI=high_mbps)
    if high_mbps < low_mbps:
        raise LinkError(f"link {kind}: HI is {high_mbps:g}; it must be at least LO, {low_mbps:g}")

"""Bandwidth traces: the rate of a link as a function of time.

A link spec is `KIND:NUMBER,NUMBER,...`; rates are Mbit/s, times are seconds since the start.
A further kind is one class and one line in `_KINDS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from kimad.errors import KimadError


class LinkError(KimadError, ValueError):
    """A link spec that cannot be used: one line with what was given and what is allowed."""


class Link(ABC):
    """A rate over time. Implementations are frozen and hold no state."""

    @abstractmethod
    def mbps(self, t_s: float) -> float:
        """Rate in Mbit/s at `t_s` seconds after the start."""

    @abstractmethod
    def mean_mbps(self, a_s: float, b_s: float) -> float:
        """Exact mean rate in Mbit/s over [a_s, b_s]; the rate itself where the interval is empty."""

    @abstractmethod
    def __str__(self) -> str:
        """The spec that `parse_link` reads."""


@final
@dataclass(frozen=True)
class Const(Link):
    """A rate that never changes."""

    rate_mbps: float  # Mbit/s, 0 or more

    def __post_init__(self) -> None:
        _at_least_zero("const", MBPS=self.rate_mbps)

    def mbps(self, t_s: float) -> float:
        return self.rate_mbps

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        return self.rate_mbps

    def __str__(self) -> str:
        return f"const:{self.rate_mbps:.12g}"


@final
@dataclass(frozen=True)
class Sine(Link):
    """LO + (HI - LO) · sin²(πt/PERIOD): lowest at the start, highest after half a period."""

    low_mbps: float  # Mbit/s, 0 or more
    high_mbps: float  # Mbit/s, not below low_mbps
    period_s: float  # s, above 0

    def __post_init__(self) -> None:
        _at_least_zero("sine", LO=self.low_mbps, HI=self.high_mbps, PERIOD_S=self.period_s)
        if self.high_mbps < self.low_mbps:
            raise LinkError(f"link sine: HI is {self.high_mbps:g}; it must be at least LO, {self.low_mbps:g}")
        if self.period_s == 0:
            raise LinkError("link sine: PERIOD_S is 0; it must be above 0 seconds")

    def mbps(self, t_s: float) -> float:
        return self.low_mbps + (self.high_mbps - self.low_mbps) * math.sin(math.pi * t_s / self.period_s) ** 2

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        """LO + (HI - LO)/2 · (1 - cos(2πm/PERIOD) · sin(d)/d), m the midpoint, d = π(b - a)/PERIOD."""
        d = math.pi * (b_s - a_s) / self.period_s
        sinc = math.sin(d) / d if abs(d) > 1e-9 else 1.0
        cosine = math.cos(math.pi * (a_s + b_s) / self.period_s)
        return self.low_mbps + (self.high_mbps - self.low_mbps) / 2 * (1 - cosine * sinc)

    def __str__(self) -> str:
        return f"sine:{self.low_mbps:.12g},{self.high_mbps:.12g},{self.period_s:.12g}"


# kind -> the class, and its fields as they are called in messages
_KINDS: dict[str, tuple[Callable[..., Link], tuple[str, ...]]] = {
    "const": (Const, ("MBPS",)),
    "sine": (Sine, ("LO", "HI", "PERIOD_S")),
}

LINK_FORMS = ", ".join(f"{kind}:{','.join(fields)}" for kind, (_, fields) in _KINDS.items())


def parse_link(spec: str) -> Link:
    """The link that a spec describes, such as `const:100` or `sine:30,330,30`.

    Raises:
        LinkError: unknown kind, missing or surplus fields, or a number that is not allowed.
    """
    kind, _, rest = spec.strip().partition(":")
    if kind not in _KINDS:
        raise LinkError(f"link {spec!r} is of no known kind; allowed: {LINK_FORMS}")
    make, fields = _KINDS[kind]
    form = f"{kind}:{','.join(fields)}"
    texts = rest.split(",") if rest else []
    if len(texts) != len(fields):
        raise LinkError(f"link {spec!r} has {len(texts)} fields; allowed: {form}")
    return make(*(_number(spec, name, text, form) for name, text in zip(fields, texts, strict=True)))


def _number(spec: str, name: str, text: str, form: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LinkError(f"link {spec!r}: {name} is {text!r}, which is no number; allowed: {form}") from None


def _at_least_zero(kind: str, **fields: float) -> None:
    for name, value in fields.items():
        if not (math.isfinite(value) and value >= 0):
            raise LinkError(f"link {kind}: {name} is {value:g}; it must be a finite number of 0 or more")

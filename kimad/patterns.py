"""Layers by name: patterns of parameter names, and what is set for the layers that they match.

Patterns are a shell's: `*` is anything, dots included, `?` one character, `[ab]` one of these; capitals count.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import final

from kimad.errors import ConfigError

MIN_WEIGHT, MAX_WEIGHT = 1e-6, 1e6  # further apart, a sum of squared errors is that of a few layers alone
SHOWN = 5  # names in an error


@final
@dataclass(frozen=True)
class ByName:
    """What is set for the layers of one model."""

    dense: frozenset[str]  # names of layers that always travel whole
    weight: Mapping[str, float]  # by name; 1 for a layer that is not in it


NOTHING = ByName(frozenset(), {})


def checked_dense(given: object) -> tuple[str, ...]:
    """`Config.dense` as a tuple. Raises ConfigError."""
    if not isinstance(given, (tuple, list)):
        raise ConfigError(f"dense is {given!r}; give a tuple of patterns of parameter names, such as ('*.bias',)")
    return tuple(_pattern("dense", pattern) for pattern in given)


def checked_weight(given: object) -> tuple[tuple[str, float], ...]:
    """`Config.weight` as pairs, in the order given. Raises ConfigError."""
    pairs = tuple(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, (tuple, list)) or not all(isinstance(p, (tuple, list)) and len(p) == 2 for p in pairs):
        raise ConfigError(f"weight is {given!r}; give a dict from pattern to weight, such as {{'router.*': 4.0}}")
    return tuple((_pattern("weight", pattern), _weight(pattern, value)) for pattern, value in pairs)


def by_name(dense: Sequence[str], weight: Iterable[tuple[str, float]], names: Collection[str]) -> ByName:
    """What patterns set for these names. Of several weights that match a name the last one holds.

    Raises ConfigError for a pattern that matches none of them.
    """
    whole: set[str] = set()
    weights: dict[str, float] = {}
    for pattern in dense:
        whole.update(_matched("dense", pattern, names))
    for pattern, value in weight:
        weights.update(dict.fromkeys(_matched("weight", pattern, names), value))
    return ByName(frozenset(whole), weights)


def matched(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern matches."""
    return [name for name in names if fnmatchcase(name, pattern)]


def _matched(field: str, pattern: str, names: Collection[str]) -> list[str]:
    found = matched(pattern, names)
    if not found:
        nearest = ", ".join(difflib.get_close_matches(pattern, names, SHOWN, cutoff=0.0))
        raise ConfigError(
            f"{field} pattern {pattern!r} matches none of the {len(names)} parameters whose gradients are averaged; "
            f"the nearest are {nearest}; * stands for anything, dots included"
        )
    return found


def _pattern(field: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ConfigError(f"{field} has the pattern {given!r}; a pattern is a text such as '*.bias'")
    return given


def _weight(pattern: object, value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not MIN_WEIGHT <= value <= MAX_WEIGHT:  # type: ignore[operator]
        raise ConfigError(
            f"weight of {pattern!r} is {value!r}; it must be a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}"
        )
    return float(value)  # type: ignore[arg-type]

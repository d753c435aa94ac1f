"""The settings that a command line gives, as a Config."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from kimad import Config, ConfigError, parse_objective
from kimad.patterns import checked_weight, matched


def parse_settings(objective: str, dense: Sequence[str], weight: Sequence[str]) -> Config:
    """From an objective, patterns, and PATTERN=W as they are typed. Raises ConfigError."""
    return Config(parse_objective(objective), dense=tuple(dense), weight=tuple(map(_weight, weight)))


def for_model(settings: Config, own: Collection[str], known: Collection[str]) -> Config:
    """The settings of one of a script's models: without patterns that match nothing of it, but another model's names.

    own: names of this model's parameters; known: of all models so far. A pattern that matches none of them stays, and
    is an error where the model is attached.
    """

    def concerns(pattern: str) -> bool:
        return bool(matched(pattern, own)) or not matched(pattern, known)

    weight = tuple((pattern, value) for pattern, value in checked_weight(settings.weight) if concerns(pattern))
    return replace(settings, dense=tuple(filter(concerns, settings.dense)), weight=weight)


def _weight(text: str) -> tuple[str, float]:
    pattern, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        pattern = ""
    if not pattern:
        raise ConfigError(f"weight {text!r}: write PATTERN=W, such as 'router.*=4'")
    return pattern, value

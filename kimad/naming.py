"""Names that people type: one table of every objective, option and alias."""

from __future__ import annotations

from collections.abc import Callable

from kimad.compressors import ALL_COMPRESSORS
from kimad.errors import ConfigError
from kimad.objective import ErrorBound, Fixed, Objective, Off, Overlap, Progress, StepTime

OPERATOR_ALIASES = {"dense": "float32", "fp32": "float32", "bf16": "bfloat16", "top-k": "topk"}
OBJECTIVE_ALIASES = {
    "ddp": "off",
    "none": "off",
    "kimad": "progress",
    "bf16": "fixed:bfloat16",
    "bfloat16": "fixed:bfloat16",
    "int8": "fixed:int8",
}
FORMS = "progress | step-time:SECONDS | overlap:SLACK | error-bound:EPS | fixed:OPTION | off"
DEFAULT_VALUES = "log4"  # the value code of a sparse option that names none


def _number(text: str, given: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"objective {given!r}: {text!r} is not a number; allowed: {FORMS}") from None


def _fixed(rest: list[str], given: str) -> Fixed:
    by_name = {c.name: c for c in ALL_COMPRESSORS}
    name = OPERATOR_ALIASES.get(rest[0], rest[0]) if rest else ""
    if name not in by_name:
        raise ConfigError(f"objective {given!r}: unknown option {name!r}; allowed: {', '.join(by_name)}")
    if not by_name[name].sparse:
        if len(rest) > 1:
            raise ConfigError(f"objective {given!r}: {name} takes no parameter")
        return Fixed(name)
    codes = by_name[name].value_codes
    values = rest[2] if len(rest) > 2 else DEFAULT_VALUES
    if len(rest) not in (2, 3) or values not in codes:
        raise ConfigError(
            f"objective {given!r}: write fixed:{name}:DENSITY or fixed:{name}:DENSITY:VALUES with VALUES one of "
            f"{', '.join(codes)}"
        )
    return Fixed(name, _number(rest[1], given), values)


def parse_objective(text: str) -> Objective:
    """Read an objective as it is typed, such as `step-time:0.5` or `fixed:topk:0.01`.

    Raises ConfigError, in one line, with what was given and what is allowed.
    """
    given = text.strip()
    name, *rest = OBJECTIVE_ALIASES.get(given.lower(), given.lower()).split(":")
    if name == "fixed":
        return _fixed(rest, text)
    if name == "off" and not rest:
        return Off()
    if name == "progress" and not rest:
        return Progress()
    if name == "overlap" and not rest:
        return Overlap()
    makers: dict[str, Callable[[float], Objective]] = {
        "progress": Progress,
        "step-time": StepTime,
        "overlap": Overlap,
        "error-bound": ErrorBound,
    }
    if name not in makers or len(rest) != 1:
        raise ConfigError(f"unknown objective {text!r}; allowed: {FORMS}")
    return makers[name](_number(rest[0], text))

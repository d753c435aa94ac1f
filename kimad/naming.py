"""Names that people type: one table of every objective, option and alias."""

from __future__ import annotations

from collections.abc import Callable

from kimad.compressors import ALL_COMPRESSORS, Compressor
from kimad.errors import ConfigError
from kimad.objective import ErrorBound, Fixed, Objective, Off, Overlap, Progress, StepTime

OPERATOR_ALIASES = {
    "dense": "float32",
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "top-k": "topk",
    "random-k": "randomk",
    "powersgd": "lowrank",
    "terngrad": "ternary",
}
OBJECTIVE_ALIASES = {
    "ddp": "off",
    "none": "off",
    "kimad": "progress",
    "bf16": "fixed:bfloat16",
    "bfloat16": "fixed:bfloat16",
    "int8": "fixed:int8",
}
FORMS = "progress | step-time:SECONDS | overlap:SLACK | error-bound:EPS | fixed:OPTION | off"


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
    operator, form = by_name[name], option_form(by_name[name])
    fields = form.split(":")[1:]
    parameters = rest[1:]
    values = operator.value_codes[0]
    if fields and fields[-1] == "VALUES":
        fields.pop()
        if len(parameters) == len(fields) + 1:
            values = parameters.pop()
    if len(parameters) != len(fields):
        codes = f" with VALUES one of {', '.join(operator.value_codes)}, or without" if "VALUES" in form else ""
        raise ConfigError(f"objective {given!r}: write fixed:{form}{codes}")
    if values not in operator.value_codes:
        raise ConfigError(f"objective {given!r}: VALUES is one of {', '.join(operator.value_codes)}")
    numbers = {field: _number(text, given) for field, text in zip(fields, parameters, strict=True)}
    count = numbers.get("LEVELS", numbers.get("RANK", 0.0))
    if not count.is_integer():
        raise ConfigError(f"objective {given!r}: {operator.counts} is a whole number; write fixed:{form}")
    try:
        return Fixed(name, numbers.get("DENSITY", 1.0), values, int(count), numbers.get("TAU", 0.0))
    except ConfigError as error:
        raise ConfigError(f"objective {given!r}: {error}") from None


def option_form(operator: Compressor) -> str:
    """How an option of this operator is typed; VALUES, its value code, may be left out."""
    fields = [operator.name]
    if operator.name == "threshold":
        fields.append("TAU")
    if operator.counts:
        fields.append({"entries": "DENSITY", "levels": "LEVELS", "rank": "RANK"}[operator.counts])
    if operator.value_codes != ("",):
        fields.append("VALUES")
    return ":".join(fields)


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

"""Settings that cannot be used are refused when they are made, in one line that names them."""

from __future__ import annotations

from dataclasses import fields

import pytest

from kimad import Config, ConfigError, Off, Progress
from kimad.config import CHECKED_APART, ERROR_FEEDBACKS, FORECASTS, SOLVERS

NUMBERS = [f.name for f in fields(Config) if f.name not in CHECKED_APART]
WHOLE = [f.name for f in fields(Config) if isinstance(f.default, int)]
MAY_BE_ZERO = ("low_quantile", "records")
NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), "1", None, True, 1j, [1], 10**400]


def refusal(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)  # type: ignore[arg-type]
    return str(caught.value)


def test_defaults_are_allowed() -> None:
    config = Config()
    assert isinstance(config.objective, Progress)
    config.check_attachable()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, -1], ids=lambda v: str(v)[:12])
def test_numbers_are_checked(name: str, value: object) -> None:
    message = refusal(**{name: value})
    assert message.startswith(f"{name} is ")
    assert "\n" not in message


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_refused_where_it_means_nothing(name: str) -> None:
    if name in MAY_BE_ZERO:
        assert getattr(Config(**{name: 0}), name) == 0  # type: ignore[arg-type]
    else:
        assert "positive" in refusal(**{name: 0})


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [2.5, 1e6])
def test_counts_are_integers(name: str, value: float) -> None:
    """A float, whole or not, cannot be the length of a deque or the bound of a slice."""
    assert "whole number" in refusal(**{name: value})


def test_counts_and_seconds_are_told_apart() -> None:
    assert set(CHECKED_APART) == {"objective", "solver", "forecast", "error_feedback", "dense", "weight"}
    assert set(WHOLE) == {n for n in NUMBERS if n.endswith(("_bytes", "_steps")) or n == "records"}
    assert Config(half_life_s=1, outage_timeout_s=2).half_life_s == 1


@pytest.mark.parametrize("solver", ["", "Lagrangian", "simplex", None, 3, ["uniform"]])
def test_unknown_solvers(solver: object) -> None:
    message = refusal(solver=solver)
    assert all(name in message for name in SOLVERS)
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["", "EF14", "none", None, 3])
def test_unknown_error_feedback(kind: object) -> None:
    message = refusal(error_feedback=kind)
    assert message.startswith(f"error_feedback is {kind!r}; allowed: ")
    assert all(name in message for name in ERROR_FEEDBACKS)
    assert "\n" not in message


@pytest.mark.parametrize("forecast", ["", "Last", "maximum", None, 3, ["last"]])
def test_unknown_forecasts(forecast: object) -> None:
    message = refusal(forecast=forecast)
    assert message.startswith(f"forecast is {forecast!r}; allowed: ")
    assert all(name in message for name in FORECASTS)
    assert "\n" not in message


@pytest.mark.parametrize("objective", ["progress", None, Progress, 0.5])
def test_an_objective_is_an_object(objective: object) -> None:
    message = refusal(objective=objective)
    assert message.startswith("objective is ")
    assert "\n" not in message


def test_off_is_not_attached() -> None:
    with pytest.raises(ConfigError, match="no hook"):
        Config(objective=Off()).check_attachable()

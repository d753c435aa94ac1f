"""Configuration: frozen, checked when made, usable without any change."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import final

from kimad.errors import ConfigError
from kimad.objective import Objective, Off, Progress
from kimad.patterns import ByName, by_name, checked_dense, checked_weight

SOLVERS = ("lagrangian", "nested", "knapsack", "uniform")
FORECASTS = ("switching", "last", "decayed", "holt", "harmonic", "quantile")
ERROR_FEEDBACKS = ("ef14", "ef21", "ef21-sgdm", "dgc")
CHECKED_APART = ("objective", "solver", "forecast", "error_feedback", "dense", "weight")


@final
@dataclass(frozen=True)
class Config:
    """Everything that can be set. The defaults are meant to be kept.

    `dense` and `weight` name layers by patterns (`kimad.patterns`); they are kept as tuples, so that a Config can be
    hashed and compared. Of several weights that match a layer the last one holds.
    Raises ConfigError for a value outside its range, NaN included.
    """

    objective: Objective = field(default_factory=Progress)  # which point of the frontier is taken
    solver: str = "lagrangian"  # how a frontier is traced: by a price of time; "nested" has one for each bucket,
    # "knapsack" is Kimad+, and "uniform" Kimad, with one density for all layers
    error_feedback: str = "ef14"  # what is remembered of what was not sent: one of ERROR_FEEDBACKS
    outage_timeout_s: float = 300.0  # s, longest gap of the network that is waited through
    cold_start_bytes: int = 1 << 20  # bytes a rank may send until there is a forecast; a tenth of dense at most, and
    # twice as many after each step that was over at once without measuring the link
    piece_bytes: int = 256 << 10  # bytes of one message; longer frames go in pieces
    refresh_steps: int = 10  # steps between two readings of the error curves
    max_drop_steps: int = 100  # steps after which a dropped layer must be sent
    max_owed_factor: float = 100.0  # R: times its gradient's squared norm that a layer may owe; then 1/R is sent
    forecast: str = "switching"  # how a link's rate is foreseen: one of FORECASTS
    half_life_s: float = 0.5  # s, age at which a link sample counts half, if a newer one has not halved it already
    low_quantile: float = 0.25  # share of steps in which the link may be slower than what is planned on
    probe_after_s: float = 10.0  # s without a sample of the link, after which more gradient is sent to have one
    records: int = 1000  # StepRecords kept in memory
    dense: Sequence[str] = ()  # patterns of the names of layers that always travel whole, in float32 or bfloat16
    weight: Mapping[str, float] | Sequence[tuple[str, float]] = ()  # by pattern: factor of a layer's squared error; 1

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Objective):
            raise ConfigError(f"objective is {self.objective!r}; give an Objective, such as kimad.Progress()")
        if self.solver not in SOLVERS:
            raise ConfigError(f"solver is {self.solver!r}; allowed: {', '.join(SOLVERS)}")
        if self.forecast not in FORECASTS:
            raise ConfigError(f"forecast is {self.forecast!r}; allowed: {', '.join(FORECASTS)}")
        if self.error_feedback not in ERROR_FEEDBACKS:
            raise ConfigError(f"error_feedback is {self.error_feedback!r}; allowed: {', '.join(ERROR_FEEDBACKS)}")
        object.__setattr__(self, "dense", checked_dense(self.dense))
        object.__setattr__(self, "weight", checked_weight(self.weight))
        self._check_names_have_an_effect()
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in CHECKED_APART:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not abs(value) <= sys.float_info.max:
                raise ConfigError(f"{f.name} is {value!r}; it must be a finite number")
            if value < 0 or (value == 0 and f.name not in ("low_quantile", "records")):
                raise ConfigError(f"{f.name} is {value!r}; it must be positive")
            if f.name == "low_quantile" and value > 1:
                raise ConfigError(f"{f.name} is {value!r}; it must be between 0 and 1")
            if isinstance(f.default, int) and not isinstance(value, int):
                raise ConfigError(f"{f.name} is {value!r}; it must be a whole number, as an int")

    def by_name(self, names: Collection[str]) -> ByName:
        """What `dense` and `weight` set for layers of these names. Raises ConfigError for a pattern without a match."""
        return by_name(self.dense, checked_weight(self.weight), names)

    def _check_names_have_an_effect(self) -> None:
        if self.dense and isinstance(self.objective, Off):
            raise ConfigError("dense is given, and with objective off everything travels whole; leave dense out")
        if self.weight and not self.objective.adaptive:
            raise ConfigError(
                f"weight is given, and objective {self.objective} weighs no errors; leave weight out, or give an "
                "objective that decides, such as kimad.Progress()"
            )

    def check_attachable(self) -> None:
        """Raise ConfigError for `Off`, which means that there is no hook."""
        if isinstance(self.objective, Off):
            raise ConfigError("objective off means no hook: do not attach, or set state.enabled = False")

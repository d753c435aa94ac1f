"""Why a plan was taken, in one sentence, with the link rate at which it would not have been."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.candidates import Candidates
from kimad.compressors import Option, compressor
from kimad.layout import Layer
from kimad.objective import Objective

Floats = NDArray[np.float64]

LOWEST_BPS, HIGHEST_BPS = 1e4, 1e14
ROUNDS = 14  # of bisection: to 0.2 %
WITHIN = 1.5  # times as many bytes or as few are much the same plan
TRIES, CLOSE = 8, 0.03  # frontiers looked at, and what is close enough
UNITS = ("", "k", "M", "G", "T")


@final
class Verdict:
    """Words for each step's plan, found anew now and then, and when another kind of plan is taken: they take time."""

    def __init__(self, objective: Objective, refresh_steps: int) -> None:
        self._objective = objective
        self._refresh_steps = refresh_steps
        self._said: tuple[int, str, float, str] | None = None  # step, kind, bytes, and the sentence
        self._flip_bps: float | None = None

    def words(
        self, step: int, kind: str, taken: Candidates, picked_from: Callable[[], Candidates],
        again: Callable[[float], Candidates],
    ) -> str:  # fmt: skip
        """The sentence. taken: the one choice; picked_from: all that there was; again: candidates at another rate."""
        size = float(taken.wire_bytes[0])
        if self._said is not None:
            then, of, own, why = self._said
            if step < then + self._refresh_steps and kind == of and not far(np.array([size]), own)[0]:
                return why
        among = picked_from()
        why = f"{kind}, {quantity(size, 'B')}: {self._merit(taken, among)}{self._turn(taken, among, again)}"
        self._said = step, kind, size, why
        return why

    def _merit(self, taken: Candidates, among: Candidates) -> str:
        points = taken.points()
        own = self._objective.scores(points)
        if own is None:
            return f"squared error {100 * float(taken.error[0]):.2g} % in {float(points.step_s[0]):.3g} s"
        return f"{np.exp(own[0]):.3g} {self._objective.unit}{self._rival(among, float(taken.wire_bytes[0]))}"

    def _turn(self, taken: Candidates, among: Candidates, again: Callable[[float], Candidates]) -> str:
        near = among if self._flip_bps is None else again(self._flip_bps)
        self._flip_bps = flip_bps(self._objective, near, again)
        if self._flip_bps is None:
            return ""
        rate = quantity(self._flip_bps, "bit/s")
        return f"; less would win below {rate}" if taken.error[0] <= 0 else f"; dense float32 would win above {rate}"

    def _rival(self, among: Candidates, own_bytes: float) -> str:
        scores, other = self._objective.scores(among.points()), far(among.wire_bytes, own_bytes)
        if scores is None or not other.any():
            return ""
        i = int(np.argmax(np.where(other, scores, -np.inf)))
        return f" against {np.exp(scores[i]):.3g} for {quantity(float(among.wire_bytes[i]), 'B')}"


def flip_bps(objective: Objective, among: Candidates, again: Callable[[float], Candidates]) -> float | None:
    """Link rate in bit/s above which a plan is picked that leaves nothing out; None if none is found.

    Of one rate's frontier it is found by bisection; what is best there is not all on that frontier, so what is on the
    frontier of the rate found joins in, until the rate stays.
    """
    found: float | None = None
    for _ in range(TRIES):
        found = _flip_bps(objective, among)
        if found is None or abs(found / among.bps - 1) < CLOSE:
            return found
        among = among.with_those(again(max(found, among.bps / 10)))
    return found


def _flip_bps(objective: Objective, among: Candidates) -> float | None:
    """The same among these candidates alone; LOWEST_BPS if it is so at any rate."""
    whole = among.error <= 0
    low, high = np.log(LOWEST_BPS), np.log(HIGHEST_BPS)

    def above(at: float) -> bool:
        return bool(whole[objective.pick(among.points(float(np.exp(at))))])

    if above(low):
        return LOWEST_BPS
    if not above(high):
        return None
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return float(np.exp((low + high) / 2))


def far(wire_bytes: Floats, own: float) -> NDArray[np.bool_]:
    """Which plans are another kind of plan than one with so many bytes."""
    distance = np.abs(np.log(np.maximum(wire_bytes, 1.0)) - np.log(max(own, 1.0)))
    return np.asarray(distance > np.log(WITHIN))


def kind(options: Mapping[str, Option], layers: Sequence[Layer]) -> str:
    """How most entries travel, in words."""
    entries: dict[str, int] = {}
    for layer in layers:
        if not layer.plain:
            name = options[layer.name].operator
            name = "sparse" if name == "drop" or compressor(name).sparse else name
            entries[name] = entries.get(name, 0) + layer.numel
    if not entries:
        return "dense"
    most = max(entries, key=lambda name: entries[name])
    if most not in ("float32", "bfloat16"):
        return most
    return f"dense {most}" if len(entries) == 1 else f"mostly {most}"


def quantity(value: float, unit: str) -> str:
    """A number with two or three digits and a decimal prefix: 4.1 MB, 330 Mbit/s."""
    power = 0
    while value >= 999.5 and power < len(UNITS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.2g} {UNITS[power]}{unit}" if value < 99.5 else f"{value:.0f} {UNITS[power]}{unit}"

"""From the rows of a file to steps, with every fault told by its line."""

from __future__ import annotations

from typing import final

from kimad.trace.formats.text import refusal
from kimad.trace.limits import MAX_MBPS, MAX_S, MIN_S, LinkError
from kimad.trace.steps import Steps, merged


@final
class Rows:
    """Collects steps of a file called `name`; joins neighbours of one rate."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._durations_s: list[float] = []
        self._rates_mbps: list[float] = []
        self._total_s = 0.0

    def add(self, line: int, duration_s: float, rate_mbps: float) -> None:
        """One more step. Raises TraceError if it is too short or too fast, or all together are too long."""
        if not duration_s >= MIN_S * (1 - 1e-6):
            raise refusal(self._name, line, f"the step lasts {duration_s:g} s; it must last at least {MIN_S:g} s")
        self._total_s += duration_s
        if not self._total_s <= MAX_S:
            raise refusal(self._name, line, f"the trace is longer than {MAX_S:g} s")
        if not 0 <= rate_mbps <= MAX_MBPS:
            raise refusal(self._name, line, f"the rate is {rate_mbps:g} Mbit/s; it must be from 0 to {MAX_MBPS:g}")
        self._durations_s.append(duration_s)
        self._rates_mbps.append(rate_mbps)

    def steps(self, line: int, needed: str) -> Steps:
        """All of them. Raises TraceError at `line`, saying what is needed, if there is none."""
        if not self._durations_s:
            raise refusal(self._name, line, needed)
        try:
            return merged(self._durations_s, self._rates_mbps)
        except LinkError as error:  # steps that are lost in the rounding of a long trace
            raise refusal(self._name, line, str(error)) from None


def rising(name: str, line: int, before_s: float, time_s: float) -> float:
    """Seconds between two times. Raises TraceError if the second is not after the first."""
    if not time_s > before_s:
        raise refusal(name, line, f"time {time_s:.12g} is not after {before_s:.12g}; times must rise")
    return time_s - before_s

"""Any link as steps over a given time: exactly where it is made of steps, else the means of short cells."""

from __future__ import annotations

import math

import numpy as np

from kimad.trace.compose import Concat, Scale
from kimad.trace.limits import MAX_S, MIN_S, LinkError, shown
from kimad.trace.link import Link
from kimad.trace.steps import Steps, merged
from kimad.trace.stepwise import StepLink
from kimad.trace.wave import Const

MAX_STEPS = 10_000_000
_FINER = 10  # steps within a link's resolution: what is 330 at its height is not 329.9 then
ENDLESS_S = 60.0  # what is taken of a link that never changes, unless the time is given


def sampled(link: Link, seconds: float | None = None, step_s: float | None = None) -> Steps:
    """The first `seconds` of a link (one period by default). Its bytes are the link's, whatever `step_s` is.

    With `step_s` each step is the mean over so long; without it steps are exact, or a tenth of the link's resolution.

    Raises:
        LinkError: a time is not allowed, or there would be more than MAX_STEPS.
    """
    if seconds is None:
        seconds = link.period_s or ENDLESS_S
    for name, value in (("seconds", seconds), ("step", step_s)):
        if value is not None and not MIN_S <= value <= MAX_S:
            raise LinkError(f"link {shown(str(link))}: {name} is {value:g}; it must be from {MIN_S:g} to {MAX_S:g} s")
    if step_s is None:
        exact = _exact(link, seconds)
        if exact is not None:
            return exact
        step_s = link.resolution_s / _FINER
    _check_count(link, seconds / step_s)
    whole = math.floor(seconds / step_s * (1 + 1e-12))
    rates = link.means(0.0, step_s, whole)
    durations = np.full(whole, step_s)
    rest_s = seconds - whole * step_s
    if rest_s >= MIN_S:
        durations = np.append(durations, rest_s)
        rates = np.append(rates, link.mean_mbps(whole * step_s, seconds))
    return merged(durations, rates)


def _exact(link: Link, seconds: float) -> Steps | None:
    """The first `seconds` without any error; None if the link is not made of steps."""
    if isinstance(link, Const):
        return Steps.lasting([seconds], [link.rate_mbps])
    if isinstance(link, Steps | StepLink):
        return _cut(link, link.steps, seconds)
    if isinstance(link, Scale):
        inner = _exact(link.link, seconds)
        return None if inner is None else Steps(inner.starts_s, link.factor * inner.rates_mbps, inner.end_s)
    if isinstance(link, Concat):
        parts = [_exact(part, part_s) for part_s, part in link.parts]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        durations = np.concatenate([part.durations_s for part in found])
        return _cut(link, merged(durations, np.concatenate([part.rates_mbps for part in found])), seconds)
    return None


def _cut(link: Link, steps: Steps, seconds: float) -> Steps:
    """Steps repeated as often as it takes to last `seconds`, and cut there."""
    turns = max(1, math.ceil(seconds / steps.end_s * (1 - 1e-12)))
    _check_count(link, turns * len(steps.starts_s))
    starts_s = (steps.end_s * np.arange(turns)[:, None] + steps.starts_s).reshape(-1)
    kept = int(np.searchsorted(starts_s, seconds - MIN_S, side="right"))
    durations = np.diff(starts_s[: max(kept, 1)], append=seconds)
    return merged(durations, np.tile(steps.rates_mbps, turns)[: max(kept, 1)])


def _check_count(link: Link, count: float) -> None:
    if count > MAX_STEPS:
        reason = f"it would take {count:.3g} steps; at most {MAX_STEPS} are allowed"
        raise LinkError(f"link {shown(str(link))}: {reason}; give fewer seconds, or a longer step")

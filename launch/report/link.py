"""The link as it was, beside what was estimated and forecast; all against seconds since t = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kimad.launch.history import Floats, History
from kimad.launch.truth import TruthRow


@final
@dataclass(frozen=True)
class Truth:
    """A rate that is constant between changes."""

    times_s: Floats  # of the changes, ascending
    rates_bps: Floats  # from each change to the next

    def mean_bps(self, begin_s: float, end_s: float) -> float:
        """Mean over an interval that has some length; the first and last rate hold on outside."""
        first, last = np.searchsorted(self.times_s, begin_s, side="right"), np.searchsorted(self.times_s, end_s)
        edges_s = np.concatenate(([begin_s], self.times_s[first:last], [end_s]))
        places = np.clip(np.arange(first - 1, last), 0, None)
        return float(np.sum(self.rates_bps[places] * np.diff(edges_s)) / (end_s - begin_s))


def slowest(history: History) -> Truth | None:
    """The smallest rate of all hosts and directions at any time; None where no link was limited.

    A step ends when the slowest host has its gradients, which is why this is what the forecast is about.
    """
    hosts = [truth for rows in history.truth.values() if (truth := of_host(rows, history.start_s)) is not None]
    if not hosts:
        return None
    times_s = np.unique(np.concatenate([host.times_s for host in hosts]))
    rates = [
        host.rates_bps[np.clip(np.searchsorted(host.times_s, times_s, side="right") - 1, 0, None)] for host in hosts
    ]
    return Truth(times_s, np.min(rates, axis=0))


def of_host(rows: list[TruthRow], start_s: float) -> Truth | None:
    """The smaller of a host's two directions; None if it has no limit."""
    rates_bps = np.array([min(row.up_mbps, row.down_mbps) * 1e6 for row in rows])
    limited = np.isfinite(rates_bps)
    if not limited.any():
        return None
    times_s = np.array([row.monotonic_s - start_s for row in rows])[limited]
    order = np.argsort(times_s, kind="stable")
    return Truth(times_s[order], rates_bps[limited][order])


def true_bps(history: History, truth: Truth | None) -> Floats:
    """Mean true rate during each step; NaN where it is not known."""
    spans = zip(history.times_s, history.measured("step_s"), strict=True)
    if truth is None:
        return np.full(len(history.steps), np.nan)
    return np.array([truth.mean_bps(end_s - length_s, end_s) if length_s > 0 else np.nan for end_s, length_s in spans])


def forecast_errors(history: History) -> dict[str, Any] | None:
    """How far forecasts are from the mean true rate during the step that follows; None where one of both is missing.

    Relative errors are of steps in which the link was not dead.
    """
    truth = slowest(history)
    if truth is None or len(history.steps) < 2:
        return None
    mean_bps, low_bps = history.link("mean_bps")[:-1], history.link("low_bps")[:-1]
    followed_bps = true_bps(history, truth)[1:]
    usable = np.isfinite(mean_bps) & np.isfinite(low_bps) & np.isfinite(followed_bps) & (followed_bps > 0)
    if not usable.any():
        return None
    error = mean_bps[usable] / followed_bps[usable] - 1
    return {
        "steps": int(usable.sum()),
        "median_error": float(np.median(np.abs(error))),  # |mean forecast / truth - 1|
        "bias": float(np.median(error)),  # above 0: forecast too fast
        "low_above_truth": float(np.mean(low_bps[usable] > followed_bps[usable])),  # share of steps
    }


def kernel_figures(history: History) -> dict[str, Any] | None:
    """What the kernel counted on rank 0; None where it was never read.

    `steps` have a delivery rate; `delivery_to_sample` and `delivery_to_truth` are medians of it over their measured and
    true rates. `other_bps` is the mean of what other programs moved.
    """
    delivery_bps, rtt_s = history.link("delivery_bps"), history.link("min_rtt_s")
    repeated, other_bps = history.link("repeated_segments"), history.link("other_bps")
    if not np.isfinite(repeated).any():
        return None
    return {
        "steps": int(np.isfinite(delivery_bps).sum()),
        "delivery_to_sample": _median_share(delivery_bps, history.samples_bps),
        "delivery_to_truth": _median_share(delivery_bps, true_bps(history, slowest(history))),
        "min_rtt_s": float(np.nanmin(rtt_s)) if np.isfinite(rtt_s).any() else None,
        "repeated_segments": int(np.nansum(repeated)),
        "other_bps": float(np.nanmean(other_bps)) if np.isfinite(other_bps).any() else None,
    }


def _median_share(part: Floats, whole: Floats) -> float | None:
    usable = np.isfinite(part) & np.isfinite(whole) & (whole > 0)
    return float(np.median(part[usable] / whole[usable])) if usable.any() else None

"""Which forecast is the default, and whether its low quantile is one: `python -m benchmarks.forecast`.

Every forecast is made before the step that it is about, from the steps before. Figures are means over the steps of all
links of a set, then over the lengths of a step. The default is the one with the smallest loss on the tuning links; the
others were never looked at while it was built.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_traces import HELD_BACK, STEPS_S, TUNING, Play, play
from benchmarks.rows import Row, command
from kimad.config import Config
from kimad.forecast import ALL_LEVELS, Estimator, make_estimator
from kimad.monitor import LinkSamples

Floats = NDArray[np.float64]

SETS = {"tuning": TUNING, "held back": HELD_BACK}
QUANTILE = 0.2
LATE = 1.25  # times the planned seconds
NEAR = 0.25  # relative error of an estimate that has followed
LARGE_BYTES, SMALL_BYTES = 4e6, 5e4
DEFAULT = Config()


@dataclass(frozen=True)
class Score:
    """How forecasts did on a set of links."""

    error: float  # mean |ln(mean / real)|
    loss: float  # mean of what the quantile is paid by: q · ln(real / low) where the link is faster, else (1-q) · |...|
    coverage: float  # share of steps in which the link was faster than the low rate
    least: float  # the same of the worst kind of link and length of a step
    most: float
    late: float  # share of steps that take more than LATE times as long as was planned on the low rate
    unused: float  # share of the real rate above the low one

    def __str__(self) -> str:
        return (
            f"error {self.error:.3f}, loss {self.loss:.4f}, coverage {self.coverage:.3f} ({self.least:.2f} to "
            f"{self.most:.2f}), late {self.late:.3f}, unused {self.unused:.3f}"
        )


def score(name: str, plays: list[Play], quantile: float) -> Score:
    """One forecast on the plays of a set, of which those with one length of a step are taken together."""
    each, covered = [], []
    for step_s in STEPS_S:
        chosen = [one for one in plays if one.step_s == step_s]
        logs = [_forecasts(name, one, quantile) for one in chosen]
        real, mean, low = (np.concatenate(parts) for parts in zip(*logs, strict=True))
        ahead = real - low
        loss = np.where(ahead > 0, quantile * ahead, (quantile - 1) * ahead)
        unused = 1 - np.minimum(1.0, np.exp(-ahead))
        columns = (np.abs(mean - real), loss, ahead > 0, -ahead > np.log(LATE), unused)
        known = np.isfinite(ahead)
        each.append([float(np.mean(column[known])) for column in columns])
        for kind in dict.fromkeys(chosen[0].kinds):
            of_kind = known & (np.array(chosen[0].kinds) == kind)
            covered.append(float(np.mean(ahead[of_kind] > 0)))
    error, loss, coverage, late, unused = np.mean(each, axis=0).tolist()
    return Score(error, loss, coverage, min(covered), max(covered), late, unused)


def _forecasts(name: str, one: Play, quantile: float) -> tuple[Floats, Floats, Floats]:
    """(T, N) ln of the real rate, and of the mean and the low rate that were forecast; NaN where there is none."""
    steps, links = one.bps.shape
    estimator = make_estimator(name, DEFAULT.half_life_s, quantile, links)
    mean, low = np.empty((2, steps, links))
    now_s = 0.0
    for step in range(steps):
        found = estimator.forecast(now_s)
        mean[step], low[step] = found.mean_bps, found.low_bps
        estimator.update(one.samples(step))
        now_s = float(one.end_s[step])
    real = np.where(one.bps > 0, one.bps, np.nan)
    return np.log(real), np.log(mean), np.log(low)


def following(name: str, step_s: float, before_bps: float, after_bps: float, before: float, after: float) -> int:
    """Steps until the mean stays within NEAR of a new rate; before, after: bytes of a step."""
    estimator = make_estimator(name, DEFAULT.half_life_s, DEFAULT.low_quantile)
    far = 0
    for step in range(80):
        jumped = step >= 50
        bps, size = (after_bps, after) if jumped else (before_bps, before)
        estimator.update(_sample(step_s * step, bps, size))
        mean_bps = float(estimator.forecast(step_s * step).mean_bps[0])
        if jumped and abs(mean_bps / after_bps - 1) > NEAR:
            far = step - 49
    return far + 1


def slowest_to_follow(name: str, bytes_before: float, bytes_after: float) -> float:
    """Largest share of what is allowed, which is 5 steps or 2 s, of a tenfold fall or rise at any length of a step."""
    shares = []
    for step_s in (*STEPS_S, 0.4, 0.6):
        for before_bps, after_bps in ((330e6, 33e6), (33e6, 330e6)):
            steps = following(name, step_s, before_bps, after_bps, bytes_before, bytes_after)
            shares.append(steps * step_s / max(5 * step_s, 2.0))
    return max(shares)


def after_outage(name: str, step_s: float) -> int:
    """Steps until the mean is within NEAR again after a transfer that had to wait for 10 s."""
    estimator = make_estimator(name, DEFAULT.half_life_s, DEFAULT.low_quantile)
    for step in range(50):
        estimator.update(_sample(step_s * step, 100e6, 1e6))
    now_s = 50 * step_s + 10.0
    estimator.update(LinkSamples(now_s, *np.array([[8e6 / 10.08], [1e6], [10.08]])))
    steps, mean_bps = 0, 0.0
    while abs(mean_bps / 100e6 - 1) > NEAR:
        steps += 1
        estimator.update(_sample(now_s + step_s * steps, 100e6, 1e6))
        mean_bps = float(estimator.forecast(now_s + step_s * steps).mean_bps[0])
    return steps


def _sample(time_s: float, bps: float, size: float) -> LinkSamples:
    return LinkSamples(time_s, *np.array([[bps], [size], [8 * size / bps]]))


def seconds(links: int, rounds: int) -> float:
    """Median seconds of taking in a step and forecasting the next."""
    random = np.random.default_rng(0)
    bps = random.uniform(1e7, 1e8, links)
    samples = [LinkSamples(0.3 * i, bps * random.uniform(0.9, 1.1, links), bps / 8, bps / bps) for i in range(rounds)]
    estimator: Estimator = make_estimator(DEFAULT.forecast, DEFAULT.half_life_s, DEFAULT.low_quantile, links)
    took = []
    for one in samples:
        start_s = time.perf_counter()
        estimator.update(one)
        estimator.forecast(one.time_s)
        took.append(time.perf_counter() - start_s)
    return float(np.median(took))


def measure(quick: bool) -> list[Row]:
    """Coverage of the default, its loss against that of the others, how it follows, and what it costs."""
    seeds, steps = (1, 400) if quick else (3, 1500)
    plays = {
        name: [play(kinds, step_s, steps, seed) for step_s in STEPS_S for seed in range(seeds)]
        for name, kinds in SETS.items()
    }
    scores = {(name, of): score(name, plays[of], QUANTILE) for name in ALL_LEVELS for of in SETS}
    mine = DEFAULT.forecast
    held = scores[mine, "held back"]
    planned = score(mine, plays["held back"], DEFAULT.low_quantile)
    rows = []
    for one, quantile in ((held, QUANTILE), (planned, DEFAULT.low_quantile)):
        percent = round(100 * quantile)
        parts = {"": (one.coverage, one.coverage), ", worst kind and length": (one.least, one.most)}
        for of, (least, most) in parts.items():
            name = f"held back, steps above the {percent} % quantile{of}"
            rows.append(Row(name, 100 * least, "%", 95 - percent, "higher", mine))
            rows.append(Row(name, 100 * most, "%", 105 - percent, "lower", mine))
    for name in ALL_LEVELS:
        for of in SETS if name != mine else ():
            value = scores[name, of].loss / scores[mine, of].loss
            rows.append(Row(f"{of}, loss of {name} / {mine}", value, "x", 1, "higher", str(scores[name, of])))
    for of in SETS:
        best = min(scores[name, of].error for name in ALL_LEVELS if name != mine)
        value = scores[mine, of].error / best
        rows.append(Row(f"{of}, error of {mine} / best other", value, "x", 1, "lower", str(scores[mine, of])))
    for what, before, after in (
        ("large", LARGE_BYTES, LARGE_BYTES), ("large, then small", LARGE_BYTES, SMALL_BYTES),
        ("small", SMALL_BYTES, SMALL_BYTES),
    ):  # fmt: skip
        value = slowest_to_follow(mine, before, after)
        rows.append(Row(f"tenfold change, {what} samples, time / allowed", value, "x", 1, "lower", "5 steps or 2 s"))
    steps_back = max(after_outage(mine, step_s) for step_s in STEPS_S)
    rows.append(Row("outage of 10 s, steps until recovered", steps_back, "steps", 2, "lower", f"within {NEAR:.0%}"))
    rows.append(Row("update and forecast, 2 links", 1e6 * seconds(2, 500), "us", 200, "lower"))
    rows.append(Row("update and forecast, 10,000 links", 1e3 * seconds(10_000, 20), "ms", 50, "lower"))
    return rows


main = command("forecast", measure)

if __name__ == "__main__":
    main()

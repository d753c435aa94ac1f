"""The links that forecasts are scored on, and what training steps on them would have measured.

A step lasts STEP_S, 10 % more or less; its transfer fills its second half, at the link's exact mean rate of that time,
times noise of its own (log-normal, NOISES). All links are stepped through together, from a random instant each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import LinkSamples
from kimad.trace import Link, parse_link

Floats = NDArray[np.float64]

STEPS_S = (0.05, 0.2, 1.0, 5.0)
NOISES = (0.03, 0.15)  # standard deviation of ln: large transfers, and small ones
STILL = 1e-3  # of a link's mean rate: below, nothing arrives that could be timed
TRACES = Path(__file__).resolve().parents[1] / "tests" / "data" / "traces"

TUNING = {
    "const": ("const:100",),
    "sine": ("sine:30,330,4", "sine:30,330,12", "sine:30,330,30"),
    "square": ("square:30,330,10", "square:20,200,40"),
    "walk": ("walk:30,330,40,1", "walk:30,330,40,2", "walk:30,330,100,3", "walk:10,110,20,4"),
    "markov": ("markov:100,10,5,5,1", "markov:100,10,5,5,2", "markov:300,100,20,10,3"),
    "outage": ("outage:100,20,4", "outage:50,60,2"),
    "recorded": ("sabre.json", "native.trace", "hsdpa.log", "pensieve.txt"),
}
HELD_BACK = {
    "const": ("const:55",),
    "sine": ("sine:30,330,5", "sine:30,330,18", "sine:30,330,55"),
    "square": ("square:20,220,14", "square:60,300,50"),
    "walk": ("walk:30,330,40,21", "walk:30,330,80,22", "walk:10,150,30,23", "walk:50,500,60,24"),
    "markov": ("markov:100,10,4,6,21", "markov:150,30,12,5,22", "markov:300,20,15,15,23"),
    "outage": ("outage:80,30,5", "outage:150,70,12"),
    "recorded": ("ghent.log", "mahimahi.mahi"),
}


@dataclass(frozen=True)
class Play:
    """T steps on N links."""

    kinds: tuple[str, ...]  # (N,)
    step_s: float
    end_s: Floats  # (T,)
    busy_s: Floats  # (T,)
    bps: Floats  # (T, N) of each step's transfer; 0 where nothing arrived

    def samples(self, step: int) -> LinkSamples:
        """What a step measured of all links."""
        bps = self.bps[step]
        busy_s = np.where(bps > 0, self.busy_s[step], 0.0)
        return LinkSamples(float(self.end_s[step]), bps, bps * busy_s / 8, busy_s)


def play(kinds: dict[str, tuple[str, ...]], step_s: float, steps: int, seed: int = 0) -> Play:
    """Steps of one length on all links of a set, with each noise."""
    random = np.random.default_rng([seed, round(1000 * step_s), steps])
    lasting_s = step_s * random.uniform(0.9, 1.1, steps)
    end_s = np.cumsum(lasting_s)
    busy_s = lasting_s / 2
    rows, names = [], []
    for kind, specs in kinds.items():
        for link in map(_link, specs):
            for noise in NOISES:
                start_s = random.uniform(0, link.period_s or 1.0)
                mbit = link.carried_mbit(start_s + end_s) - link.carried_mbit(start_s + end_s - busy_s)
                bps = 1e6 * np.maximum(mbit, 0.0) / busy_s
                still = bps < STILL * 1e6 * link.mean_mbps(0.0, link.period_s or 1.0)
                rows.append(np.where(still, 0.0, bps * np.exp(noise * random.standard_normal(steps))))
                names.append(kind)
    return Play(tuple(names), step_s, end_s, busy_s, np.array(rows).T)


def _link(spec: str) -> Link:
    return parse_link(spec if ":" in spec else str(TRACES / spec))

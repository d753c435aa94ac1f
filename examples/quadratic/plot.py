"""A figure: the objective's gap against simulated seconds, and below it the link against the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.quadratic.experiment import Line
from examples.quadratic.transfer import rate_bps
from kimad.trace import PaperSine

COLOURS = {  # what a line's name begins with
    "uncompressed": "black",
    "fixed top-k, per layer": "tab:grey",
    "fixed top-k, whole vector": "tab:brown",
    "Kimad+": "tab:red",
    "Kimad": "tab:blue",
}
SHOWN = 2.0  # periods of the link, or rounds, that the lower part shows


def draw(title: str, link: PaperSine, lines: Sequence[Line], path: Path) -> None:
    """Write the figure to `path`; the rounds below are those of Kimad+ with the last sample and its best T."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    gaps, rate = figure.subplots(2, 1, height_ratios=(3, 1))
    for line in lines:
        label = f"{line.name}, {line.picked}" if line.picked else line.name
        colour = next(c for name, c in COLOURS.items() if line.name.startswith(name))
        gaps.plot(line.run.t_s, line.run.gap, style(line), color=colour, label=label, linewidth=1.2)
    gaps.set_yscale("log")
    gaps.set_xlim(left=0)
    gaps.set_ylim(top=2)
    gaps.set_xlabel("simulated seconds")
    gaps.set_ylabel("(f(x) − f*) / (f(0) − f*)")
    gaps.set_title(title)
    gaps.legend(fontsize="small")

    shown = next(line for line in lines if line.name.startswith("Kimad+, last") and "best" in line.picked)
    end_s = SHOWN * max(link.sine.cycle_s, shown.target_round_s)
    t_s = np.linspace(0.0, end_s, 2000)
    rate.plot(t_s, rate_bps(link, t_s) / 1e3, color="tab:green", linewidth=1.0)
    rounds = shown.run.t_s[shown.run.t_s <= end_s]
    rate.vlines(rounds, 0, 1, transform=rate.get_xaxis_transform(), color="tab:red", linewidth=0.6)
    rate.set_xlim(0, end_s)
    rate.set_ylim(bottom=0)
    rate.set_xlabel(f"simulated seconds; red: ends of rounds, {shown.name}, {shown.picked}")
    rate.set_ylabel("B(t), kbit/s")
    figure.savefig(path, dpi=90, metadata={"Software": None})


def style(line: Line) -> str:
    """Dashed where T is the worst, dash-dotted where the rate is known, dotted where sizes are at random."""
    if "random" in line.name:
        return ":"
    if "known" in line.name:
        return "-."
    return "--" if "worst" in line.picked else "-"

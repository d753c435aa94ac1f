"""Step time of each simulated strategy, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kimad.files import replacing
from kimad.sim import Result


def plot(results: Sequence[Result], title: str, out: Path) -> bool:
    """Write a PNG file; False, and nothing written, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, result in enumerate(results):
        marker = "." if len(result.step_s) == 1 else None  # a line needs two points
        style = ("-", "--", ":")[i // 10 % 3]  # there are ten colours
        axes.plot(result.step_s, linewidth=1.2, marker=marker, linestyle=style, label=result.strategy)
    axes.set(xlabel="step", ylabel="seconds a step")
    axes.set_yscale("log")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    with replacing(out) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": None})
    return True

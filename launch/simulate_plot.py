"""Step time of each simulated strategy, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kimad.launch.figure import legend_beside, write_figure
from kimad.sim import Result


def plot(results: Sequence[Result], title: str, out: Path) -> bool:
    """Write a PNG file; False, and nothing written, where matplotlib is missing."""

    def draw(axes: Any) -> None:
        for i, result in enumerate(results):
            marker = "." if len(result.step_s) == 1 else None  # a line needs two points
            style = ("-", "--", ":")[i // 10 % 3]  # there are ten colours
            axes.plot(result.step_s, linewidth=1.2, marker=marker, linestyle=style, label=result.strategy)
        axes.set(xlabel="step", ylabel="seconds a step")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10, parse_math=False)
        legend_beside(axes)

    return write_figure(out, 8, 4.5, draw)

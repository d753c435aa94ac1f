"""Speed and bytes over the link's rate, one panel a size of fast memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SHOWN = {"lru": "C7", "predictive": "C1", "budgeted": "C0"}


def draw(report: dict[str, Any], path: Path) -> None:
    """A PNG: tokens/s above, bytes moved below."""
    rows = report["swept"]
    slots = sorted({row["slots"] for row in rows})
    figure = Figure(figsize=(3.0 * len(slots), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(slots), squeeze=False, sharex=True, sharey="row")
    for column, count in enumerate(slots):
        for name, color in SHOWN.items():
            line = sorted(
                (r for r in rows if r["policy"] == name and r["slots"] == count), key=lambda r: r["loads_per_visit"]
            )
            loads = [r["loads_per_visit"] for r in line]
            axes[0, column].plot(loads, [r["tokens_per_s"] for r in line], "o-", color=color, label=name, markersize=3)
            axes[1, column].plot(loads, [r["moved_bytes"] / 1e6 for r in line], "o-", color=color, markersize=3)
        axes[0, column].set_title(f"{100 * line[0]['share']:.0f} % of the experts", fontsize=9)
        axes[1, column].set_xscale("log", base=2)
        axes[1, column].set_xlabel("experts the link brings a visit")
    axes[0, 0].set_ylabel("tokens/s")
    axes[1, 0].set_ylabel("MB moved")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=80)

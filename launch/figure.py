"""A figure in a file, drawn without a display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kimad.files import replacing

METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write_figure(out: Path, width: float, height: float, draw: Callable[[Any], None], kind: str = "png") -> bool:
    """Write what `draw(axes)` draws, sizes in inches; False, and nothing written, where matplotlib is missing.

    The same figure is the same file. Raises OSError where the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    with replacing(out) as part:
        figure.savefig(part, format=kind, dpi=120, metadata=METADATA[kind])
    return True


def legend_beside(axes: Any) -> None:
    """A legend to the right of the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))

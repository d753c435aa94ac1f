"""Figures to SVG images that a page holds in itself, readable on light and dark ground, wide and narrow."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kimad.launch.errors import UsageError
from kimad.launch.history import Floats

INK, FAINT = "#1f2328", "#d8dee5"  # texts and axes; grid
_DARK = {INK: "#e2e6ea", FAINT: "#3b424a"}  # what they are on dark ground
COLOURS = ("#2f6fde", "#e0682a", "#1f9d6b", "#b0489f", "#c49a12", "#5b7083")  # of runs, told apart on both grounds
WIDE, NARROW = 9.4, 3.9  # inches; the page takes the narrow one below `NARROW_PX`
NARROW_PX = 700
_STYLE: Any = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.linewidth": 0.7, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6, "lines.linewidth": 1.6,
    "legend.frameon": False, "legend.labelcolor": INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "savefig.facecolor": "none", "svg.hashsalt": "kimad", "axes.formatter.use_mathtext": False,
}  # fmt: skip


@final
@dataclass(frozen=True)
class Plot:
    """One plot of the page."""

    name: str  # of the plot, for tests and links; letters only
    alt: str  # what it shows, for those who do not see it
    wide: str  # SVG
    narrow: str  # SVG of the same for a small screen

    @property
    def html(self) -> str:
        """The plot as an element of a page."""
        alt = html.escape(self.alt, quote=True)
        return (
            f'<picture><source media="(max-width: {NARROW_PX}px)" srcset="{_uri(self.narrow)}">'
            f'<img class="plot" id="plot-{self.name}" alt="{alt}" title="{alt}" src="{_uri(self.wide)}"></picture>'
        )


Draw = Callable[[Any, bool], float | None]


def plot(name: str, alt: str, height: float, draw: Draw) -> Plot:
    """Draw a plot twice. `draw(figure, narrow)` fills a figure, and may return another height in inches.

    Raises:
        UsageError: matplotlib is missing.
    """
    return Plot(name, alt, _svg(WIDE, height, draw, narrow=False), _svg(NARROW, max(height, 2.8), draw, narrow=True))


def _svg(width: float, height: float, draw: Draw, *, narrow: bool) -> str:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("a report needs matplotlib, which is not installed; pip install 'kimad[plot]'") from None
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        wanted = draw(figure, narrow)
        if wanted:
            figure.set_figheight(wanted)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return _for_dark(svg[svg.index("<svg") :])


def _for_dark(svg: str) -> str:
    """Say what ink and grid are where people prefer dark pages."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark} !important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>@media (prefers-color-scheme: dark){{{rules}}}</style>{svg[start:]}"


def _uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def thin(values: Floats, most: int = 600) -> tuple[Floats, int]:
    """Means of equal groups along the last axis, at most `most` of them, and the size of a group; skips NaN."""
    count = values.shape[-1]
    group = max(1, -(-count // most))
    if group == 1:
        return values, 1
    padded = np.full((*values.shape[:-1], -(-count // group) * group), np.nan)
    padded[..., :count] = values
    cells = padded.reshape(*values.shape[:-1], -1, group)
    known = np.isfinite(cells)
    with np.errstate(invalid="ignore"):
        return np.where(known, cells, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan), group

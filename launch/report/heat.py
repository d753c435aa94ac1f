"""What happened to each layer: two heat maps of layers by steps, density and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kimad.launch.history import Floats, History
from kimad.launch.report.drawing import Plot, plot, thin
from kimad.launch.report.plots import text, whole_steps

MOST_ROWS = 44  # layers, or groups of them, that a heat map shows
_COLUMNS = 400
_DROPPED = "#b4bdc6"  # grey, seen on light and dark ground
_LEAST_DENSITY = 1e-4  # what is below has the colour of this


@final
@dataclass(frozen=True)
class Heat:
    """Layers by steps."""

    labels: tuple[str, ...]  # of the rows: a layer, or a group of layers
    density: Floats  # kept share of the entries, mean over the layers of a row
    bytes: Floats | None  # of one copy of a row's frames; None where the records do not say
    stride: int  # steps in a column


def heat(history: History) -> Heat | None:
    """The rows and columns; None where no step says anything of layers. Steps with other layers are NaN."""
    if not history.steps or not history.steps[-1].layers:
        return None
    names = [layer.name for layer in history.steps[-1].layers]
    density = np.full((len(names), len(history.steps)), np.nan)
    frames = np.full_like(density, np.nan)
    last: object = None
    for column, step in enumerate(history.steps):
        if len(step.layers) != len(names):
            continue
        if step.layers is last:  # the reader keeps equal layers once
            density[:, column], frames[:, column] = density[:, column - 1], frames[:, column - 1]
            continue
        density[:, column] = [layer.density for layer in step.layers]
        frames[:, column] = [layer.frame_bytes for layer in step.layers]
        last = step.layers
    groups = group(names)
    density = np.array([density[rows].mean(0) for rows in groups.values()])
    frames = np.array([frames[rows].sum(0) for rows in groups.values()])
    shown, stride = thin(density, _COLUMNS)
    has_bytes = bool(np.nansum(frames) > 0)
    return Heat(tuple(groups), shown, thin(frames, _COLUMNS)[0] if has_bytes else None, stride)


def group(names: Sequence[str], most: int = MOST_ROWS) -> dict[str, list[int]]:
    """Layers by label, in order, at most `most` labels: each layer, or those of one module, or so many in a row.

    Example:
        >>> group(["a.0.weight", "a.0.bias", "b.weight"], most=2)
        {'a.0 (2)': [0, 1], 'b.weight': [2]}
    """
    depth = max((name.count(".") for name in names), default=0)
    for cut in range(depth + 1, 0, -1):
        found: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            found.setdefault(".".join(name.split(".")[:cut]), []).append(i)
        if len(found) <= most:
            return {_label(key, names, rows): rows for key, rows in found.items()}
    size = -(-len(names) // most)
    runs = [list(range(start, min(start + size, len(names)))) for start in range(0, len(names), size)]
    return {f"{_short(names[rows[0]])} and {len(rows) - 1} more (from {rows[0]})": rows for rows in runs}


def heat_plot(history: History, name: str) -> Plot | None:
    """Density, and beside it bytes."""
    found = heat(history)
    if found is None:
        return None
    height = 0.9 + 0.145 * len(found.labels)
    maps = [("kept share of the entries", found.density)]
    if found.bytes is not None:
        maps.append(("bytes of one copy", found.bytes))

    def draw(figure: Any, narrow: bool) -> float | None:
        import matplotlib
        from matplotlib.colors import LogNorm

        colours = matplotlib.colormaps["viridis"].with_extremes(bad="none", under=_DROPPED)
        grid = figure.subplots(len(maps), 1, squeeze=False) if narrow else figure.subplots(1, len(maps), squeeze=False)
        for axes, (title, values) in zip(grid.flat, maps, strict=True):
            is_density = values is found.density
            largest = 1.0 if is_density else max(2.0, float(np.nanmax(values)))
            least = _LEAST_DENSITY if is_density else max(1.0, largest / 1e5)
            # log of what is dropped is none: it is drawn below the scale
            shown = np.where(values > 0, np.maximum(values, least), least / 10)
            shown = np.where(np.isfinite(values), shown, np.nan)
            image = axes.imshow(
                np.ma.masked_invalid(shown), norm=LogNorm(least, largest), cmap=colours, aspect="auto",
                interpolation="nearest", extent=(-0.5, len(history.steps) - 0.5, len(found.labels) - 0.5, -0.5),
            )  # fmt: skip
            axes.set_xlabel("step")
            axes.grid(visible=False)
            whole_steps(axes)
            first = narrow or axes is grid.flat[0]
            labels = [text(label if len(label) <= 28 else f"...{label[-25:]}") for label in found.labels]
            axes.set_yticks(range(len(labels)), labels if first else [""] * len(labels), fontsize=7)
            axes.tick_params(axis="y", length=0)
            bar = figure.colorbar(image, ax=axes, location="top", aspect=40, pad=0.01, fraction=0.03, extend="min")
            bar.set_label(title, fontsize=8)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_linewidth(0)
        return (height + 0.7) * len(maps) if narrow else None

    return plot(name, f"Density and bytes of each layer of {history.name} over the steps; grey: dropped", height, draw)


def _label(key: str, names: Sequence[str], rows: list[int]) -> str:
    return names[rows[0]] if len(rows) == 1 else f"{key} ({len(rows)})"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"...{name[-21:]}"

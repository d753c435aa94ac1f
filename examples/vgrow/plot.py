"""Pictures: particles over the rounds, and what generators make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from examples.metrics.grid import save_grid
from examples.vgrow.compare import Result
from examples.vgrow.target import Target

COLUMNS, ROWS = 12, 4


def draw(target: Target, results: Sequence[Result], out: Path) -> list[str]:
    """Write the pictures of one target; returns their names."""
    if target.modes is None:
        names = []
        for result in results:
            kind = result.method.split(",")[0]
            names.append(f"{target.kind}-{kind}.png")
            save_grid(target.images(result.rows[: COLUMNS * ROWS]), out / names[-1], COLUMNS)
        first = results[0]
        names.append(f"{target.kind}-particles.png")
        save_grid(
            target.images(torch.cat([particles[:COLUMNS] for particles in first.trail])), out / names[-1], COLUMNS
        )
        return names
    name = f"{target.kind}-particles.png"
    _scatter(target, results, out / name)
    return [name]


def _scatter(target: Target, results: Sequence[Result], path: Path) -> None:
    """Of each divergence a row: particles at six rounds, and at last what the generator makes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(results[0].trail) + 1
    figure = Figure(figsize=(1.7 * columns, 1.8 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    limit = 1.3 * float(target.test.abs().max())
    for line, result in zip(figure.subplots(len(results), columns, squeeze=False), results, strict=True):
        for axes, points in zip(line, [*result.trail, result.rows], strict=True):
            axes.scatter(*target.test.T, s=1, color="lightgrey")
            axes.scatter(*points[:600].T, s=1, color="tab:blue")
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
        line[0].set_ylabel(result.method.removeprefix("vgrow-"))
        line[-1].set_title("generator", fontsize=8)
    figure.savefig(path, dpi=80)

"""Bytes against squared error of every operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kimad.launch.codecs_measure import Row
from kimad.launch.figure import legend_beside, write_figure

_LINES = ("-", "--", "-.", ":")
_MARKS = "sD^v<>pPX*dh8"
_GREY = "0.4"

Points = list[tuple[float, float]]  # (bytes an entry, squared error / energy)


def plot(rows: Sequence[Row], title: str, out: Path, *, of_file: bool) -> bool:
    """Write a PNG file; False, and nothing written, where matplotlib is missing.

    A line an operator, over densities, levels or ranks; its other value codes are marks of the same colour. What has
    no bytes or no error has no place on logarithmic axes.
    """

    def draw(axes: Any) -> None:
        marks: dict[str, str] = {}  # of value codes but the first
        for i, (operator, codes) in enumerate(_series(rows, of_file).items()):
            first, *others = codes
            size = 5 + 1.5 * (i % 3)  # of two lines in one place both are seen
            style: dict[str, Any] = {"color": f"C{i % 10}", "zorder": 30 - i, "markersize": size}
            mark = "o" if others else _MARKS[i % len(_MARKS)]
            line = _LINES[i % len(_LINES)] if len(codes[first]) > 1 else ""
            axes.plot(*zip(*codes[first], strict=True), marker=mark, linestyle=line, label=operator, **style)
            for code in others:
                mark = marks.setdefault(code, _MARKS[len(marks) % len(_MARKS)])
                axes.plot(*zip(*codes[code], strict=True), marker=mark, linestyle="", **style)
        for code, mark in marks.items():
            axes.plot([], [], color=_GREY, marker=mark, linestyle="", label=f"the same with {code}")
        axes.set(xlabel="bytes an entry", ylabel="squared error / energy", xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.set_title(title, fontsize=10, parse_math=False)
        legend_beside(axes)

    return write_figure(out, 10, 6, draw)


def _series(rows: Sequence[Row], of_file: bool) -> dict[str, dict[str, Points]]:
    """Operator -> value code -> its points, by rising bytes."""
    found: dict[str, dict[str, Points]] = {}
    for row in rows:
        error = row.file_error if of_file else row.error
        if error and row.compression_factor:
            operator, _, parameters = row.name.partition(":")
            code = parameters.partition(":")[2]
            found.setdefault(operator, {}).setdefault(code, []).append((4 / row.compression_factor, error))
    return {operator: {code: sorted(points) for code, points in codes.items()} for operator, codes in found.items()}

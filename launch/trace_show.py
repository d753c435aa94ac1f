"""Figures of traces on the terminal, as JSON and as a plot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kimad.launch.columns import columns as aligned
from kimad.launch.errors import UsageError
from kimad.launch.figure import write_figure
from kimad.trace import Steps
from kimad.trace.figures import BLOCKS, MARKS, QUANTILES, Figures, figures, sparkline
from kimad.trace.formats.file import check_target

_WIDTH = 60  # cells of a sparkline
_PLOTTED = 4000  # most steps that a plot shows; more are averaged
_PLOTS = (".png", ".svg", ".pdf")


def record(found: Figures) -> dict[str, Any]:
    """The figures as JSON has them."""
    names = [f"p{round(q * 100)}_mbps" for q in QUANTILES]
    return {
        "seconds": found.seconds,
        "steps": found.steps,
        "bytes": found.total_bytes,
        "mean_mbps": found.mean_mbps,
        "min_mbps": found.min_mbps,
        "max_mbps": found.max_mbps,
        **dict(zip(names, found.quantiles_mbps, strict=True)),
        "zero_share": found.zero_share,
    }


def table(columns: dict[str, Figures]) -> str:
    """A line a figure, a column a trace."""
    rows = [("", *map(printable, columns))]
    rows += [
        (label, *(_texts(found)[label] for found in columns.values())) for label in _texts(next(iter(columns.values())))
    ]
    return aligned(rows)


def print_figures(name: str, steps: Steps, *, as_json: bool) -> None:
    """The figures of one trace on stdout, with a sparkline unless as JSON."""
    found = figures(steps)
    if as_json:
        print(json.dumps({"source": name, **record(found)}, indent=2))
        return
    cells = steps.means(0.0, steps.end_s / _WIDTH, _WIDTH)
    line = sparkline(cells, BLOCKS if _can_print(BLOCKS) else MARKS)
    print(table({name: found}))
    print(f"{'':{_label_width(found)}}  {line}")


def plot(steps: Steps, name: str, out: Path, *, force: bool) -> None:
    """Write a plot of rate against time.

    Raises:
        UsageError: matplotlib is missing, or the suffix is not allowed.
        TraceError: the file exists and `force` is not given, or its folder does not exist.
    """
    if out.suffix.lower() not in _PLOTS:
        raise UsageError(f"--out {str(out)!r} is no plot; allowed: a file that ends in {', '.join(_PLOTS)}")
    check_target(out, force=force)

    def draw(axes: Any) -> None:
        edges_s, rates_mbps = _drawn(steps)
        axes.stairs(rates_mbps, edges_s, baseline=None)
        axes.axhline(figures(steps).mean_mbps, color="grey", linewidth=0.8, linestyle="--", label="mean")
        axes.set(xlim=(0, steps.end_s), ylim=(0, None), xlabel="seconds", ylabel="Mbit/s")
        axes.set_title(printable(name), parse_math=False)
        axes.legend(frameon=False)

    try:
        if not write_figure(out, 8, 3, draw, out.suffix.lower()[1:]):
            raise UsageError("--out needs matplotlib, which is not installed; pip install 'kimad[plot]'")
    except OSError as error:
        raise UsageError(f"--out {str(out)!r} cannot be written: {error.strerror}; give another file") from error


def _drawn(steps: Steps) -> tuple[Any, Any]:
    """Edges in seconds and rates in Mbit/s of what a plot shows."""
    if len(steps.rates_mbps) <= _PLOTTED:
        return np.append(steps.starts_s, steps.end_s), steps.rates_mbps
    return np.linspace(0.0, steps.end_s, _PLOTTED + 1), steps.means(0.0, steps.end_s / _PLOTTED, _PLOTTED)


def _texts(found: Figures) -> dict[str, str]:
    quantiles = {
        f"{q:.0%} of the time at most": f"{v:.6g} Mbit/s" for q, v in zip(QUANTILES, found.quantiles_mbps, strict=True)
    }
    return {
        "length": f"{found.seconds:.6g} s in {found.steps} steps",
        "bytes": f"{found.total_bytes:.0f}",
        "mean": f"{found.mean_mbps:.6g} Mbit/s",
        "lowest": f"{found.min_mbps:.6g} Mbit/s",
        **quantiles,
        "highest": f"{found.max_mbps:.6g} Mbit/s",
        "time at zero": f"{found.zero_share:.1%}",
    }


def printable(text: str, width: int = 48) -> str:
    """One line without control characters that stdout can encode, cut where it is long."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = text if len(text) <= width else text[: width - 3] + "..."
    return text if _can_print(text) else text.encode("ascii", "replace").decode()


def _label_width(found: Figures) -> int:
    return max(map(len, _texts(found)))


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

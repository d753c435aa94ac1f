"""One measured bound a row, printed as a table or as JSON, and kept with the machine's description."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import click
import numpy as np
import psutil
import torch

RESULTS = Path(__file__).parent / "results"
NEVER = 1e9  # in place of infinity, which JSON does not have


@dataclass(frozen=True)
class Row:
    """A value and the bound that it is held against."""

    name: str
    value: float
    unit: str
    bound: float
    better: str  # "lower" or "higher"
    note: str = ""  # spread, share, or what else the figure needs

    @property
    def ok(self) -> bool:
        """Whether the value is within its bound; NaN is not."""
        return self.value <= self.bound if self.better == "lower" else self.value >= self.bound


def as_dicts(rows: list[Row]) -> list[dict[str, object]]:
    """Rows as they are written to JSON."""
    return [{**asdict(row), "ok": row.ok} for row in rows]


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "load": psutil.getloadavg(),
    }


def table(rows: list[Row]) -> str:
    """Rows for people."""
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        sign = "<=" if row.better == "lower" else ">="
        verdict = "ok" if row.ok else "MISSED"
        lines.append(
            f"{row.name:{width}}  {row.value:8.3g} {row.unit:6} {sign} {row.bound:<6g} {verdict:6}  {row.note}"
        )
    return "\n".join(lines)


def command(name: str, measure: Callable[[bool], list[Row]]) -> click.Command:
    """The command line of a benchmark; `measure(quick)` returns its rows. Exits 0 whatever the values are."""

    @click.command(name=name, help=f"Measure the bounds of {name}.")
    @click.option("--json", "as_json", is_flag=True, help="print the rows as JSON and nothing else")
    @click.option("--quick", is_flag=True, help="the same at a size that ends in about a minute")
    @click.option("--save", is_flag=True, help=f"keep the rows in benchmarks/results/{name}.json")
    def run(as_json: bool, quick: bool, save: bool) -> None:
        rows = measure(quick)
        click.echo(json.dumps(as_dicts(rows), indent=1) if as_json else table(rows))
        if save:
            RESULTS.mkdir(exist_ok=True)
            kept = {"machine": machine(), "quick": quick, "rows": as_dicts(rows)}
            (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    return run

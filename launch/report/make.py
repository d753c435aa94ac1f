"""`kimad report`: one page of what runs did and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kimad.files import replacing
from kimad.launch.columns import columns
from kimad.launch.errors import UsageError
from kimad.launch.history import History, read_history
from kimad.launch.process import note
from kimad.launch.report.numbers import figures
from kimad.launch.report.page import page
from kimad.launch.words import percents, seconds, size_or_dash

REPORT_NAME = "report.html"


@click.command("report")
@click.argument("folders", nargs=-1, required=True, metavar="RUN_DIR...", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help=f"where the page goes; default: {REPORT_NAME} in the first RUN_DIR")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print the figures as JSON and nothing else")
def command(folders: Sequence[Path], out: Path | None, as_json: bool) -> int:
    """Make one page of what runs did and why; several runs are compared.

    RUN_DIR is what --out of kimad run or kimad emulate was. The page is a single HTML file that loads nothing.
    """
    runs = distinct([read_history(folder) for folder in folders])
    target = out if out is not None else folders[0] / REPORT_NAME
    write(target, page(runs))
    found = [figures(model) for run in runs for model in (run, *run.models)]
    click.echo(json.dumps({"report": str(target), "runs": found}, indent=1) if as_json else table(found))
    note("report", f"the page is {target}")
    return 0


def distinct(runs: list[History]) -> list[History]:
    """The runs, under names that tell them apart: folders of one name get as much of their paths as that takes."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    names = [run.folder.resolve().parts for run in runs]
    for depth in range(2, max(map(len, names)) + 1):
        longer = ["/".join(parts[-depth:]) for parts in names]
        if len(set(longer)) == len(runs):
            break
    else:
        longer = [f"{run.name} ({i + 1})" for i, run in enumerate(runs)]  # one folder given twice
    return [
        replace(run, name=name, models=tuple(replace(m, name=f"{name}/{m.folder.name}") for m in run.models))
        for run, name in zip(runs, longer, strict=True)
    ]


def write(path: Path, text: str) -> None:
    """Write a file whole, or not at all. Raises UsageError."""
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}; give another file by --out") from error


def table(found: Sequence[dict[str, Any]]) -> str:
    """A line a run."""
    rows = [
        ("run", "objective", "steps", "mean step", "p95", "bytes sent", "plain DDP", "prediction off by", "verdict")
    ]
    for n in found:
        off = (n["prediction"] or {}).get("median_error")
        rows.append((
            n["name"], n["objective"] or "-", str(n["steps"]), seconds(n["mean_step_s"]), seconds(n["p95_step_s"]),
            size_or_dash(n["wire_bytes"]), size_or_dash(n["dense_bytes"]), percents(off),
            n["verdict"] or "no step was recorded",
        ))  # fmt: skip
    return columns(rows)

"""`kimad trace`: look at bandwidth traces, bring them into another format, make new ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kimad.launch.trace_show import plot, print_figures, record, table
from kimad.trace import FORMATS, LINK_FORMS, Concat, Link, Scale, Steps, TraceError, parse_link, read_trace
from kimad.trace.figures import figures
from kimad.trace.formats import Format, find_format, recognise
from kimad.trace.formats.csv import RATE_UNITS, TIME_UNITS, Csv
from kimad.trace.formats.file import check_target, target_format, write_trace
from kimad.trace.formats.text import read_text
from kimad.trace.sample import sampled

_FORMAT_LINES = "\n\n".join(["\b\nFormats:", *(f"\b\n  {form.name:9} {form.summary}" for form in FORMATS.values())])
_READ = [
    click.option("--time-col", metavar="COLUMN", help="of a CSV: name or number of the column of times"),
    click.option("--rate-col", metavar="COLUMN", help="of a CSV: name or number of the column of rates"),
    click.option("--rate-unit", metavar="UNIT", help=f"of a CSV: {', '.join(RATE_UNITS)}"),
    click.option("--time-unit", metavar="UNIT", help=f"of a CSV: {', '.join(TIME_UNITS)}; or date-times"),
]
_JSON = click.option("--json", "as_json", is_flag=True, help="the same figures as JSON")
_FORCE = click.option("--force", is_flag=True, help="replace a file that exists")
_TO = click.option("--to", "to", metavar="FORMAT", help="of the new file; by its suffix where it is not given")


def _csv_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_READ):
        function = option(function)
    return function


@click.group(name="trace", epilog=_FORMAT_LINES, no_args_is_help=False)
def command() -> None:
    """Show, convert or generate bandwidth traces. A trace is used by giving its path as a link."""


@command.command(help=f"Figures of a trace file or a link.\n\nSPEC is one of {LINK_FORMS}.")
@click.argument("spec")
@click.option("--format", "form", metavar="FORMAT", help=f"of the file: {', '.join(FORMATS)}; by content if not given")
@_csv_options
@click.option("--seconds", type=float, metavar="S", help="how much of it; one period if not given")
@_JSON
@click.option("--out", type=Path, metavar="FILE", help="a plot: .png, .svg or .pdf")
@_FORCE
def show(
    spec: str,
    form: str | None,
    time_col: str | None,
    rate_col: str | None,
    rate_unit: str | None,
    time_unit: str | None,
    seconds: float | None,
    as_json: bool,
    out: Path | None,
    force: bool,
) -> None:
    csv = _csv(time_col, rate_col, rate_unit, time_unit)
    link: Link = parse_link(spec) if form is None and csv is None else _read(spec, form, csv)[0]
    steps = sampled(link, seconds)
    if out is not None:
        plot(steps, spec, out, force=force)
    print_figures(spec, steps, as_json=as_json)


@command.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=Path)
@click.option("--from", "form", metavar="FORMAT", help=f"of IN: {', '.join(FORMATS)}; by content if not given")
@_TO
@_csv_options
@_JSON
@_FORCE
def convert(
    source: str,
    target: Path,
    form: str | None,
    to: str | None,
    time_col: str | None,
    rate_col: str | None,
    rate_unit: str | None,
    time_unit: str | None,
    as_json: bool,
    force: bool,
) -> None:
    """Bring a trace into another format. Bytes are kept within one packet of 1500; positions and latencies are not."""
    into = target_format(target, to)
    check_target(target, force=force)
    steps, found = _read(source, form, _csv(time_col, rate_col, rate_unit, time_unit))
    _write(steps, source, found.name, target, into, as_json=as_json, force=force)


@command.command(help=f"Make a trace file from links.\n\nSPEC is one of {LINK_FORMS}.")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "--seconds", type=float, multiple=True, required=True, metavar="S", help="length; with --concat also one a SPEC"
)
@click.option("--step", "step_s", type=float, metavar="S", help="length of a step; as exact as can be if not given")
@click.option("--concat", "joined", is_flag=True, help="several SPECs, one after the other")
@click.option("--scale", "factor", type=float, metavar="FACTOR", help="multiply the rates")
@_TO
@click.option("--out", "target", type=Path, required=True, metavar="FILE", help="the new file")
@_JSON
@_FORCE
def generate(
    specs: tuple[str, ...],
    seconds: tuple[float, ...],
    step_s: float | None,
    joined: bool,
    factor: float | None,
    to: str | None,
    target: Path,
    as_json: bool,
    force: bool,
) -> None:
    into = target_format(target, to)
    check_target(target, force=force)
    link, length_s = _combined(specs, seconds, joined=joined)
    if factor is not None:
        link = Scale(factor, link)
    _write(sampled(link, length_s, step_s), str(link), "link", target, into, as_json=as_json, force=force)


def _combined(specs: tuple[str, ...], seconds: tuple[float, ...], *, joined: bool) -> tuple[Link, float]:
    """The link to write, and for how long."""
    links = [parse_link(spec) for spec in specs]
    if not joined:
        if len(links) > 1:
            raise click.UsageError(f"{len(links)} links are given; join them by --concat, or make a file of each.")
        if len(seconds) > 1:
            raise click.UsageError(f"--seconds is given {len(seconds)} times; give it once, or join links by --concat.")
        return links[0], seconds[0]
    if len(seconds) not in (1, len(links)):
        raise click.UsageError(
            f"--seconds is given {len(seconds)} times for {len(links)} links; give one, or one each."
        )
    each = seconds if len(seconds) == len(links) else seconds * len(links)
    return Concat(tuple(zip(each, links, strict=True))), sum(each)


def _csv(time_col: str | None, rate_col: str | None, rate_unit: str | None, time_unit: str | None) -> Csv | None:
    given = (time_col, rate_col, rate_unit, time_unit)
    return None if given == (None,) * 4 else Csv(*given)


def _read(path: str, form: str | None, csv: Csv | None) -> tuple[Steps, Format]:
    """A file and its format, with the columns where it is a CSV."""
    found = recognise(read_text(path), path) if form is None else find_format(form)
    if csv is None:
        return read_trace(path, found), found
    if found.name != csv.name:
        raise TraceError(f"trace {path!r} is of format {found.name}, but columns or units are for csv; leave them out")
    return read_trace(path, csv), csv


def _write(steps: Steps, source: str, read_as: str, target: Path, form: Format, *, as_json: bool, force: bool) -> None:
    write_trace(steps, target, form, force=force)
    written = read_trace(str(target), form)
    before, after = figures(steps), figures(written)
    if as_json:
        result = {"in": {"source": source, "format": read_as, **record(before)}}
        result["out"] = {"file": str(target), "format": form.name, **record(after)}
        print(json.dumps(result, indent=2))
    else:
        print(table({f"{source} ({read_as})": before, f"{target} ({form.name})": after}))
    if abs(after.total_bytes - before.total_bytes) > 0.5:
        lost = after.total_bytes - before.total_bytes
        print(f"kimad trace: rounding to packets changed the bytes of a period by {lost:+.0f}", file=sys.stderr)

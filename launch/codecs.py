"""`kimad bench codecs`: what every compressor costs and loses on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import psutil
import torch

from kimad.compressors import kernels, synthetic
from kimad.files import replacing
from kimad.launch.codecs_measure import Row, matrix_shape, measure
from kimad.launch.codecs_plot import plot
from kimad.launch.columns import columns
from kimad.launch.errors import UsageError
from kimad.launch.folder import check_out_folder, out_folder
from kimad.launch.gradient_file import FORMS, read_gradient
from kimad.launch.process import note
from kimad.launch.words import DASH, seconds

COMMAND = "bench codecs"
RESNET18 = 11_173_962  # parameters
MIN_N, MAX_N = 1024, 1 << 28
_BYTES_AN_ENTRY = 48  # of memory: the tensors, and what is made on the way
COLUMNS = ("operator", "density", "bytes / kept", "factor", "error")
FILE_COLUMN = "error, file"
TIMES = ("encode", "decode", "with residual")


@click.command("codecs")
@click.option("--n", "numel", type=click.IntRange(MIN_N, MAX_N), default=RESNET18, show_default=True,
              help="entries of the synthetic gradient")  # fmt: skip
@click.option("--gradient", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help=f"another gradient for the error: {FORMS}")  # fmt: skip
@click.option("--repeats", type=click.IntRange(5, 1000), default=5, show_default=True, help="of every timing")
@click.option("--seed", type=click.IntRange(0, 2**63 - 2), default=0, show_default=True,
              help="of the synthetic gradient")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print the figures as JSON and nothing else")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="write codecs.json, codecs.md and a plot")  # fmt: skip
def command(numel: int, file: Path | None, repeats: int, seed: int, as_json: bool, out: Path | None) -> int:
    """Measure every compressor: bytes, squared error, and time on one thread, in copies of the tensor.

    Densities and value codes of sparse operators, numbers of levels and ranks are listed in docs/compressors.md. The
    error is that of a synthetic gradient with heavy tails, and of FILE if there is one.
    """
    given = [] if file is None else read_gradient(file)
    _check_memory(numel)
    if out is not None:
        check_out_folder(out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        copy_s, rows = measure(synthetic.gradient(numel, seed), synthetic.gradient(numel, seed + 1), given, repeats)
    finally:
        torch.set_num_threads(threads)
    figures = {
        "n": numel,
        "matrix": list(matrix_shape(numel)),
        "gradient": None if file is None else file.name,
        "repeats": repeats,
        "seed": seed,
        "compiled": kernels.compiled(),
        "copy_s": copy_s,
        "rows": [asdict(row) for row in rows],
    }
    code = "compiled kernels" if kernels.compiled() else "numpy alone"
    title = f"{numel:,} entries; times in copies of {seconds(copy_s)}, one thread, {code}, median of {repeats}"
    if out is not None:
        _write_all(out, figures, rows, title, file)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(title)
        cells = table(rows, of_file=file is not None)
        click.echo(columns(cells, right=range(1, len(cells[0]))))
    return 0


def table(rows: Sequence[Row], *, of_file: bool) -> list[tuple[str, ...]]:
    """The heads, and one row a setting, as text."""
    cells: list[tuple[str, ...]] = [(*COLUMNS, *([FILE_COLUMN] if of_file else []), *TIMES)]
    for row in rows:
        times = (row.encode_copies, row.decode_copies, row.encode_owed_copies)
        cells.append((
            row.name,
            _text(row.density, "g"),
            _text(row.bytes_per_kept, ".2f"),
            _text(row.compression_factor, ".1f"),
            _text(row.error, ".2g"),
            *([_text(row.file_error, ".2g")] if of_file else []),
            *(_text(copies, ".2f") for copies in times),
        ))  # fmt: skip
    return cells


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """The same as a table of a document."""
    lines = [f"| {' | '.join(row)} |" for row in cells]
    rule = f"| --- |{' ---: |' * (len(cells[0]) - 1)}"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _text(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)


def _check_memory(numel: int) -> None:
    needed, free = _BYTES_AN_ENTRY * numel, psutil.virtual_memory().available
    if needed > free:
        raise UsageError(f"--n {numel} takes about {needed >> 20} MiB of memory, {free >> 20} are free; give fewer")


def _write_all(out: Path, figures: dict[str, Any], rows: Sequence[Row], title: str, file: Path | None) -> None:
    of_file = file is not None
    with out_folder(out):
        with replacing(out / "codecs.json") as part:
            part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        with replacing(out / "codecs.md") as part:
            part.write_text(f"{markdown(table(rows, of_file=of_file))}\n{title}\n", encoding="utf-8")
        if not plot(rows, file.name if file else "synthetic gradient", out / "codecs.png", of_file=of_file):
            note(COMMAND, "no plot: matplotlib is not installed; pip install 'kimad[plot]'")

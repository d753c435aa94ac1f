"""VGrow, its four divergences, and GANs beside it: ``python -m examples.vgrow``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from examples.command import run as run_command
from examples.data.dataset import DataError
from examples.data.load import NAMES
from examples.metrics.features import Features
from examples.vgrow.compare import ALL, Result, compare
from examples.vgrow.divergence import DivergenceError, find
from examples.vgrow.report import as_json, table
from examples.vgrow.target import make_target

PROGRAM = "python -m examples.vgrow"
DEFAULT = ("ring", "grid25", "digits")
QUICK_ROUNDS = 3


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/vgrow"), show_default=True)
@click.option("--data", "names", multiple=True, help=f"ring, grid25, {NAMES}; may be repeated  [default: {DEFAULT}]")
@click.option("--divergence", "divergences", multiple=True, help=f"{', '.join(ALL)}; may be repeated  [default: all]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 10**6), help="of particles and regression; suits the data if left out")
@click.option("--json", "as_json_only", is_flag=True, help="print the summary as JSON, and nothing else, on stdout")
@click.option("--quick", is_flag=True, help=f"{QUICK_ROUNDS} rounds, one rate of each GAN: to see that it works")
def command(
    out: Path, names: tuple[str, ...], divergences: tuple[str, ...], seed: int, rounds: int | None,
    as_json_only: bool, quick: bool,
) -> int:  # fmt: skip
    """Train generators by VGrow and by GANs, and compare what they make with held-out data."""
    missing = [name for name in ("matplotlib", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"this example needs {' and '.join(missing)}: pip install 'kimad[examples]'")
    torch.set_num_threads(1)
    chosen = [find(name).name for name in divergences or ALL]
    targets = [make_target(name, seed) for name in names or DEFAULT]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out {out}: {error.strerror}") from None
    from examples.vgrow.plot import draw

    everything: list[Result] = []
    known: dict[str, Features] = {}
    text, pictures = [], []
    for target in targets:
        count = rounds or (QUICK_ROUNDS if quick else None)
        results, features = compare(target, chosen, seed, count, lambda line: click.echo(line, err=True), quick)
        everything += results
        if features is not None:
            known[target.name] = features
        text.append(f"{target.name}, seed {seed}\n{table(target, results, features)}")
    summary = as_json(seed, everything, known)
    (out / "summary.json").write_text(summary, encoding="utf-8")
    for target in targets:
        pictures += draw(target, [result for result in everything if result.target == target.name], out)
    if as_json_only:
        click.echo(summary, nl=False)
    else:
        click.echo("\n\n".join(text) + f"\n\n{out}/: summary.json, {', '.join(pictures)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; bad input is 2 and one line on stderr."""
    return run_command(command, PROGRAM, argv, DataError, DivergenceError)


if __name__ == "__main__":
    sys.exit(main())

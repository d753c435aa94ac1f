"""WWAE beside AE, VAE and WAE-MMD: ``python -m examples.wwae``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from examples.command import run as run_command
from examples.data.dataset import DataError
from examples.data.load import NAMES, load_dataset
from examples.metrics.features import fit_features
from examples.wwae.compare import METHODS, best, compare, reference
from examples.wwae.objective import KINDS, Method, ObjectiveError
from examples.wwae.report import as_json, rows, table
from examples.wwae.training import Settings

PROGRAM = "python -m examples.wwae"
QUICK_STEPS = 60


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/wwae"), show_default=True)
@click.option("--data", default="digits", show_default=True, help=NAMES)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1, 10**6), help="of each model  [default: 1400]")
@click.option("--batch", type=click.IntRange(2, 10**5), default=128, show_default=True)
@click.option("--latent", type=click.IntRange(1, 4096), default=8, show_default=True, help="dimensions")
@click.option("--json", "as_json_only", is_flag=True, help="print the summary as JSON, and nothing else, on stdout")
@click.option("--quick", is_flag=True, help=f"{QUICK_STEPS} steps, one weight of each method: to see that it works")
def command(
    out: Path, data: str, seed: int, steps: int | None, batch: int, latent: int, as_json_only: bool, quick: bool
) -> int:
    """Train all methods with one architecture and budget, and compare what they learnt."""
    missing = [name for name in ("matplotlib", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"this example needs {' and '.join(missing)}: pip install 'kimad[examples]'")
    torch.set_num_threads(1)
    dataset = load_dataset(data, seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out {out}: {error.strerror}") from None
    features = fit_features(dataset)
    settings = Settings(Method("ae"), steps or (QUICK_STEPS if quick else 1400), batch, latent=latent, seed=seed)
    methods = [next(m for m in METHODS if m.kind == kind) for kind in KINDS] if quick else METHODS
    trained = compare(methods, settings, dataset, features, lambda text: click.echo(text, err=True))
    floor_w2 = reference(dataset, latent, seed)
    chosen = [best(trained, kind) for kind in KINDS]
    from examples.wwae.plot import draw

    pictures = draw(chosen, dataset.test, out)
    distances = {"features": features.name, "floor": features.floor, "noise": features.noise}
    summary = as_json({"data": data, "seed": seed, **distances, "floor_w2_squared": floor_w2, "rows": rows(trained)})
    (out / "summary.json").write_text(summary, encoding="utf-8")
    if as_json_only:
        click.echo(summary, nl=False)
    else:
        sizes = f"{len(dataset.train)} images to train on, {len(dataset.test)} to test"
        click.echo(f"{data}: {sizes}; {settings.steps} steps of {batch}, latent dimension {latent}, seed {seed}\n")
        click.echo(f"{table(trained, features, floor_w2)}\n\n{out}/: summary.json, {', '.join(pictures)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; bad input is 2 and one line on stderr."""
    return run_command(command, PROGRAM, argv, DataError, ObjectiveError)


if __name__ == "__main__":
    sys.exit(main())

"""The Kimad paper's synthetic experiment: ``python -m examples.quadratic``."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from examples.command import run as run_command
from examples.quadratic.checks import check_all
from examples.quadratic.config import QUICK, Config
from examples.quadratic.experiment import lines, run_all
from examples.quadratic.problem import make
from examples.quadratic.report import as_json, curves, record, table, verdicts
from kimad.errors import KimadError
from kimad.trace import PaperSine

DEFAULT = Config()
PROGRAM = "python -m examples.quadratic"
TITLES = {"slow": "the link oscillates slower than a round", "fast": "the link oscillates faster than a round"}


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/quadratic"),
              show_default=True, help="folder for figures and tables")  # fmt: skip
@click.option("--json", "as_json_only", is_flag=True, help="print the summary as JSON, and nothing else, on stdout")
@click.option("--quick", is_flag=True, help="few settings and short runs, to see that everything works")
@click.option("--workers", type=click.IntRange(1, 64), default=DEFAULT.workers, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=DEFAULT.seed, show_default=True)
@click.option("--seconds", type=float, help=f"simulated, after which a run ends  [default: {DEFAULT.seconds:g}]")
@click.option("--eta", type=float, default=DEFAULT.eta_mbps, show_default=True, help="η, Mbit/s")
@click.option("--delta", type=float, default=DEFAULT.delta_mbps, show_default=True, help="δ, Mbit/s")
@click.option("--theta-slow", type=float, default=DEFAULT.slow_rad_per_s, show_default=True, help="θ, rad/s")
@click.option("--theta-fast", type=float, default=DEFAULT.fast_rad_per_s, show_default=True, help="θ, rad/s")
def command(
    out: Path, as_json_only: bool, quick: bool, workers: int, seed: int, seconds: float | None,
    eta: float, delta: float, theta_slow: float, theta_fast: float,
) -> int:  # fmt: skip
    """Kimad, Kimad+ and fixed top-k with EF21 both ways, on links whose rate is η·sin²(θt) + δ."""
    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("this example needs matplotlib: pip install 'kimad[examples]'")
    config = replace(
        QUICK if quick else DEFAULT,
        workers=workers, seed=seed, eta_mbps=eta, delta_mbps=delta,
        slow_rad_per_s=theta_slow, fast_rad_per_s=theta_fast,
    )  # fmt: skip
    if seconds is not None:
        config = replace(config, seconds=seconds)
    if not (math.isfinite(config.seconds) and config.seconds > 0):
        raise click.UsageError(f"--seconds is {config.seconds:g}; it must be a finite number above 0")
    links = {
        "slow": PaperSine(config.eta_mbps, config.slow_rad_per_s, config.delta_mbps),
        "fast": PaperSine(config.eta_mbps, config.fast_rad_per_s, config.delta_mbps),
    }
    if eta + delta == 0:
        raise click.UsageError("--eta and --delta are both 0; a link must carry something")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out {out}: {error.strerror}") from None
    return run(config, links, out, as_json_only)


def run(config: Config, links: dict[str, PaperSine], out: Path, as_json_only: bool) -> int:
    """Everything on both links, and the theorems; 1 if a bound does not hold."""
    from examples.quadratic.plot import draw

    problem = make(config.workers, config.layers, config.width, config.seed)
    text = [
        f"{config.workers} workers, {config.layers} layers of {config.width}, condition number "
        f"{problem.smoothness / problem.strength:.0f}; T_comp = {config.compute_s:g} s; "
        "64 bits an entry, or 32 each for all; seconds are simulated"
    ]
    figures = {}
    for name, link in links.items():
        runs = run_all(config, link)
        shown = lines(config, link, runs)
        draw(f"{link} (Mbit/s, rad/s, Mbit/s): {TITLES[name]}", link, shown, out / f"{name}.png")
        (out / f"{name}.csv").write_text(curves(shown), encoding="utf-8")
        figures[name] = {
            "link": str(link),
            "lines": [
                {"name": line.name, "picked": line.picked, **record(config, link, line.run, problem.smoothness)}
                for line in shown
            ],
            "all": [record(config, link, run, problem.smoothness) for run in runs],
        }
        rows = table(config, shown, problem.smoothness)
        text.append(f"{name}: B(t) = {link}, a period of {link.sine.cycle_s:.3g} s\n{rows}")
    checks = check_all(config, links["slow"])
    text.append(f"EF21 with another K in each of {config.check_rounds} rounds:\n{verdicts(checks)}")
    summary = as_json({**figures, "checks": [{**asdict(check), "holds": check.holds} for check in checks]})
    (out / "summary.json").write_text(summary, encoding="utf-8")
    if as_json_only:
        click.echo(summary, nl=False)
    else:
        files = [f"{name}.{kind}" for name in links for kind in ("png", "csv")]
        click.echo("\n\n".join(text) + f"\n\n{out}/: {', '.join([*files, 'summary.json'])}")
    return 0 if all(check.holds for check in checks) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; bad input is 2 and one line on stderr."""
    return run_command(command, PROGRAM, argv, KimadError)


if __name__ == "__main__":
    sys.exit(main())

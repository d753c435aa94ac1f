"""`kimad simulate`: predicted step times on any network, without training."""

from __future__ import annotations

import csv
import json
import multiprocessing
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from kimad.files import replacing
from kimad.launch.columns import columns
from kimad.launch.errors import UsageError
from kimad.launch.folder import check_out_folder, out_folder, usable_cores
from kimad.launch.process import note
from kimad.launch.simulate_plot import plot
from kimad.launch.summary import size
from kimad.launch.trace_show import printable
from kimad.launch.words import percents, seconds
from kimad.layout import Layer
from kimad.plan import EXCHANGES
from kimad.sim import FORMS, Result, Scenario, Workload, simulate
from kimad.sim.models import MODELS
from kimad.sim.simulate import MAX_WORKERS
from kimad.sim.strategy import Site, make_strategy
from kimad.trace import LINK_FORMS, parse_links

COLUMNS = (
    "strategy",
    "mean step",
    "p95",
    "max",
    "bytes a step",
    "waiting",
    "overshoot",
    "energy kept",
    "progress  ",
    "total",
)


@click.command("simulate")
@click.option(
    "--model", required=True, metavar="NAME|FILE", help=f"{', '.join(MODELS)}, or a file of `kimad bench profile`"
)
@click.option("-n", "--workers", type=click.IntRange(2, MAX_WORKERS), default=8, show_default=True, help="workers")
@click.option(
    "--link", "links", multiple=True, required=True, metavar="SPEC", help=f"{LINK_FORMS}; once a worker, or for all"
)
@click.option("--steps", type=click.IntRange(1, 1_000_000), default=200, show_default=True, help="steps of training")
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help=f"{FORMS}; may be repeated")
@click.option("--exchange", type=click.Choice(["auto", *EXCHANGES]), default="auto", show_default=True,
              help="how frames get to everybody; the runtime has all-gather")  # fmt: skip
@click.option("--latency-ms", type=click.FloatRange(0, 60_000), default=0.0, show_default=True, help="one way")
@click.option("--compute", "compute_s", type=click.FloatRange(0, 1e6, min_open=True), metavar="SECONDS",
              help="mean computing of a step; known for a model")  # fmt: skip
@click.option("--spread", type=click.FloatRange(0, 2), metavar="SIGMA",
              help="of the logarithm of the computing time of a named model (0.05)")  # fmt: skip
@click.option("--straggler", metavar="SHARE,FACTOR", help="share of steps in which a worker takes FACTOR times as long")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="of everything random")
@click.option("--json", "as_json", is_flag=True, help="print the figures as JSON and nothing else")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="write simulate.json, the steps of each strategy, and a plot")  # fmt: skip
def command(
    model: str, workers: int, links: Sequence[str], steps: int, strategies: Sequence[str], exchange: str,
    latency_ms: float, compute_s: float | None, spread: float | None, straggler: str | None, seed: int,
    as_json: bool, out: Path | None,
) -> int:  # fmt: skip
    """Predict step times on any network, without training.

    The simulated workers decide with the code that decides in training: the same link estimates, error curves, solver
    and objective.
    """
    share, factor = _straggler(straggler)
    scenario = Scenario(
        _workload(model, compute_s, spread, seed), parse_links(list(links), workers), steps, latency_ms / 1e3,
        exchange, share, factor, seed=seed,
    )  # fmt: skip
    _check_strategies(strategies)
    if out is not None:
        check_out_folder(out)
    if scenario.used_exchange != "all-gather":
        note("simulate", f"frames are exchanged by {scenario.used_exchange}, which the runtime does not have yet")
    results = _simulate_all(scenario, strategies or scenario.strategies)
    figures = {
        "model": model,
        "workers": workers,
        "link": list(links),
        "steps": steps,
        "exchange": scenario.used_exchange,
        "latency_s": scenario.latency_s,
        "compute_s": scenario.compute_s,
        "seed": seed,
        "strategies": {result.strategy: result.figures() for result in results},
    }
    title = f"{model}, {workers} workers, link {links_text(links)}, computing {scenario.compute_s:.3g} s a step"
    if out is not None:
        _write_all(out, figures, results, title)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(title)
        click.echo(table(results))
    return 0


def _simulate_all(scenario: Scenario, strategies: Sequence[str]) -> list[Result]:
    """One result a strategy, in order; strategies have nothing to do with each other, so each core takes some."""
    processes = min(usable_cores(), len(strategies))
    if processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        return [simulate(scenario, text) for text in strategies]
    context = multiprocessing.get_context("fork")  # what is imported stays imported
    with context.Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:  # this process ends them
        return pool.map(partial(simulate, scenario), strategies, chunksize=1)


def links_text(links: Sequence[str], most: int = 4) -> str:
    """The specs in one line, not all of many."""
    more = f"; and {len(links) - most} more" if len(links) > most else ""
    return "; ".join(printable(link) for link in links[:most]) + more


def table(results: Sequence[Result]) -> str:
    """One line a strategy; the most progress a second, cosine of what is sent and what is owed, has a star."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    best = max((result.figures()["progress_per_s"] or 0.0 for result in results), default=0.0)
    for result in results:
        figures = result.figures()
        progress = figures["progress_per_s"]
        star = " *" if progress == best else "  "
        rows.append((
            result.strategy,
            *(seconds(figures[name]) for name in ("mean_step_s", "p95_step_s", "max_step_s")),
            size(figures["wire_bytes"] or 0.0),
            seconds(figures["wait_s"]),
            percents(figures["overshoot"]),
            percents(figures["kept"]),
            ("-" if progress is None else f"{progress:.3g} /s") + star,
            seconds(figures["total_s"]),
        ))  # fmt: skip
    return columns(rows, right=range(1, len(COLUMNS)))


def _workload(model: str, compute_s: float | None, spread: float | None, seed: int) -> Workload:
    if model in MODELS:
        return MODELS[model]().workload(model, compute_s, 0.05 if spread is None else spread, seed)
    path = Path(model)
    if not path.is_file():
        raise UsageError(f"model {model!r} is neither a file nor one of {', '.join(MODELS)}")
    if spread is not None:
        raise UsageError("--spread is for models known by name; a file holds the computing times that were measured")
    workload = Workload.load(path)
    return workload if compute_s is None else workload.with_compute(compute_s)


def _straggler(text: str | None) -> tuple[float, float]:
    if text is None:
        return 0.0, 1.0
    try:
        share, factor = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--straggler is {text!r}; write SHARE,FACTOR, such as 0.05,3") from None
    return share, factor


def _check_strategies(strategies: Sequence[str]) -> None:
    """Raises SimulationError for one that is not known: before the others have taken their time."""
    layer = Layer("any", (64,))
    for text in strategies:
        make_strategy(text, Site(((layer,),), 2, "all-gather", 0.0, {}, 2), [layer])


def _write_all(out: Path, figures: dict[str, Any], results: Sequence[Result], title: str) -> None:
    with out_folder(out):
        with replacing(out / "simulate.json") as part:
            part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for result in results:
            _write_steps(out, result)
        if not plot(results, title, out / "simulate.png"):
            note("simulate", "no plot: matplotlib is not installed; pip install 'kimad[plot]'")


def _write_steps(out: Path, result: Result) -> None:
    path = out / f"steps-{result.strategy.replace(':', '-').replace('@', '-')}.csv"
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("step", "step_s", "compute_s", "wire_bytes", "kept", "predicted_s"))
        arrays = (result.step_s, result.compute_s, result.wire_bytes, result.kept, result.predicted_s)
        writer.writerows((i, *row) for i, row in enumerate(zip(*(c.tolist() for c in arrays), strict=True)))

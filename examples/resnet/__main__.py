"""Four ways of training one plain DDP script on one changing link, compared: ``python -m examples.resnet``."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from examples.resnet.report import as_json, operating_point, read_run, summarise, table
from examples.resnet.runner import LINK, MEAN_MBPS, WORKERS, Plan, RunError, run

MIN_SECONDS = 30.0  # two periods of the link
PLANS = (
    Plan("ddp", objective="off", comm="none", steps=70, seconds=MIN_SECONDS, expected_s=175.0),
    Plan("bf16", objective="off", comm="bf16", steps=70, seconds=MIN_SECONDS, expected_s=100.0),
    Plan("fixed_topk", objective="fixed:topk:0.01", comm="none", steps=110, seconds=MIN_SECONDS, expected_s=90.0),
    Plan("kimad", objective="progress", comm="none", steps=110, seconds=MIN_SECONDS, expected_s=110.0),
)
QUICK_STEPS = 12  # a look at the machinery; the losses say nothing yet
QUICK_EXPECTED_S = 25.0
REPORT_EVERY_S = 15.0  # of progress, where stderr is no terminal
EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/demo"),
    show_default=True,
    help="folder; the runs of an earlier demo in it are replaced",
)
@click.option("--json", "as_json_only", is_flag=True, help="print the rows as JSON, and nothing else, on stdout")
@click.option("--quick", is_flag=True, help=f"only {QUICK_STEPS} steps each, to see that everything works")
def main(out: Path, as_json_only: bool, quick: bool) -> None:
    """Train ResNet-18 on digits in four ways on the same changing link, and compare their time to the same loss."""
    missing = [package for module, package in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if missing:
        click.echo(f"this example needs {' and '.join(missing)}: pip install 'kimad[examples]'", err=True)
        raise SystemExit(2)
    signal.signal(signal.SIGTERM, stop)
    plans = tuple(quick_plan(plan) for plan in PLANS) if quick else PLANS
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        for index, plan in enumerate(plans):
            run(plan, out / plan.name, progress_of(index, plans))
    except RunError as error:
        click.echo(f"\n{error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        click.echo("\nstopped", err=True)
        raise SystemExit(130) from None
    click.echo(err=True)

    runs = [read_run(out / plan.name, plan.name) for plan in plans]
    rows = summarise(runs)
    (out / "summary.json").write_text(as_json(rows), encoding="utf-8")
    from examples.resnet.plot import draw

    draw(runs, out / "loss_and_link.png")
    if as_json_only:
        click.echo(as_json(rows), nl=False)
        return
    click.echo(f"ResNet-18, {WORKERS} workers, link {LINK} (Mbit/s, Mbit/s, s); ranks bit-identical in every run\n")
    click.echo(table(rows))
    click.echo(f"\n{operating_point(out / 'kimad' / 'records.jsonl', MEAN_MBPS)}")
    click.echo(f"\n{out / 'summary.json'}\n{out / 'loss_and_link.png'}")


def quick_plan(plan: Plan) -> Plan:
    """The same way of training, for a few steps."""
    return replace(plan, steps=QUICK_STEPS, seconds=0.0, expected_s=QUICK_EXPECTED_S)


def progress_of(index: int, plans: tuple[Plan, ...]) -> Callable[[float], None]:
    """Writes how long is left of everything, from how long is left of one run."""
    later_s = sum(plan.expected_s for plan in plans[index + 1 :])
    live = sys.stderr.isatty()
    last_s = -REPORT_EVERY_S

    def report(left_s: float) -> None:
        nonlocal last_s
        if not live and time.monotonic() - last_s < REPORT_EVERY_S:
            return
        last_s = time.monotonic()
        minutes, seconds = divmod(round(left_s + later_s), 60)
        text = f"[{index + 1}/{len(plans)}] {plans[index].name}: about {minutes} min {seconds:02d} s left of the demo"
        click.echo(f"\r{text}\x1b[K" if live else text, err=True, nl=not live)

    return report


def stop(signum: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that the run's processes are ended too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

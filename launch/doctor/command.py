"""`kimad doctor`: what works on this machine, a self-test, and up to which link rate compressing pays."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import click

from kimad.launch.doctor import machine, software
from kimad.launch.doctor.check import FAIL, WARN, Check, Look
from kimad.launch.doctor.coding import measured_here
from kimad.launch.doctor.pays import NAME as BREAK_EVEN
from kimad.launch.doctor.pays import pays
from kimad.launch.doctor.self_test import NAME as SELF_TEST
from kimad.launch.doctor.self_test import self_test
from kimad.launch.errors import UsageError
from kimad.sim import Workload
from kimad.sim.models import MODELS

MAX_WORKERS = 1024
LOOKS = (
    Look("python", True, software.python),
    Look("packages", True, software.packages),
    Look("gloo", True, machine.gloo),
    Look("cuda", False, machine.cuda),
    Look("kernels", False, software.compiled),
    Look("extras", False, software.extras),
    Look("clock", True, machine.clock),
    Look("cores", False, machine.cores),
    Look("emulate", False, machine.emulation),
)
WIDTH = len(BREAK_EVEN)


@click.command("doctor")
@click.option("--model", default="resnet18", show_default=True, metavar="NAME|FILE",
              help=f"for the break-even: {', '.join(MODELS)}, or a file of `kimad bench profile`")  # fmt: skip
@click.option("-n", "--workers", type=click.IntRange(2, MAX_WORKERS), multiple=True, default=(2,), show_default=True,
              help="that train it; may be repeated")  # fmt: skip
@click.option("--compute", "compute_s", type=click.FloatRange(0, 1e6, min_open=True), metavar="SECONDS",
              help="mean computing of a step; made up for a model known by name")  # fmt: skip
@click.option("--self-test/--no-self-test", "tested", default=True, help="train on two ranks of this machine")
@click.option("--json", "as_json", is_flag=True, help="print the same as JSON and nothing else")
def command(model: str, workers: Sequence[int], compute_s: float | None, tested: bool, as_json: bool) -> int:
    """Say what works on this machine, and what to do about what does not.

    One line a check: `ok`; `warn`, works but not all or not well; `FAIL`, Kimad cannot work so, and the exit code is 1.
    The last lines say for a model above which link rate plain DDP is better than compressing.
    """
    workload, where_from = _workload(model, compute_s)
    found: list[Check] = []
    for look in _looks(workload, where_from, workers, tested=tested):
        found.append(look.look())
        if not as_json:
            click.echo(found[-1].line(WIDTH))
    failed = [check.name for check in found if check.status == FAIL]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in found]}, indent=1))
    else:
        click.echo(_conclusion(found, failed))
    return 1 if failed else 0


def _looks(workload: Callable[[], Workload], where_from: str, workers: Sequence[int], *, tested: bool) -> list[Look]:
    """What is looked at, in order."""
    trial = [Look(SELF_TEST, True, self_test)] if tested else []
    numbers = dict.fromkeys(workers)
    return [*LOOKS, *trial, *(Look(BREAK_EVEN, False, partial(pays, workload, n, where_from)) for n in numbers)]


def _conclusion(found: Sequence[Check], failed: Sequence[str]) -> str:
    if failed:
        return f"Kimad does not work here: {', '.join(failed)}"
    warned = sum(check.status == WARN for check in found)
    return "all that is needed works" + (f", {warned} of {len(found)} with a warning" if warned else "")


def _workload(model: str, compute_s: float | None) -> tuple[Callable[[], Workload], str]:
    """How to get the model's workload, and what is to be said of its times. Raises UsageError, WorkloadError."""
    if model in MODELS:
        made = MODELS[model]().workload(model, compute_s)
        advice = "" if compute_s is not None else "that time is made up: give --compute, or --model with a profile"
        return cache(partial(measured_here, made)), advice
    path = Path(model)
    if not path.is_file():
        raise UsageError(f"model {model!r} is neither a file nor one of {', '.join(MODELS)}")
    loaded = Workload.load(path)
    scaled = loaded if compute_s is None else loaded.with_compute(compute_s)
    return lambda: scaled, ""

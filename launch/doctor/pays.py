"""Up to which link rate compressing pays for a model, as the simulator has it with the decisions of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from kimad.launch.doctor.check import OK, Check
from kimad.sim import BreakEven, Workload, break_even

NAME = "break-even"


def pays(load: Callable[[], Workload], workers: int, where_from: str) -> Check:
    """In words. load: gets the model; where_from: what is to be said of the times behind it."""
    workload = load()
    found = break_even(workload, workers)
    figures = {"model": workload.name, **asdict(found)}
    text = f"{workload.name}, {workers} workers: {words(found)} (computing {found.compute_s:.3g} s a step)"
    return Check(NAME, OK, text, where_from, figures)


def words(found: BreakEven) -> str:
    """Which of both makes more progress a second, and where."""
    if found.bps is None:
        return "compressing makes more progress a second on any link"
    if found.never_compress:
        return "plain DDP makes more progress a second on any link"
    return f"plain DDP wins above {in_mbps(found.bps)} a rank, compressing below"


def in_mbps(bps: float) -> str:
    """In Mbit/s, two digits: more would not be true.

    Example:
        >>> in_mbps(868_000_000.0), in_mbps(1_234_000_000.0)
        ('870 Mbit/s', '1200 Mbit/s')
    """
    return f"{float(f'{bps / 1e6:.2g}'):g} Mbit/s"

"""The experiment on one link: every method with every step size of one grid, and the best of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np

from examples.quadratic.budget import Estimate, Sender, message_bits
from examples.quadratic.config import Config
from examples.quadratic.problem import make
from examples.quadratic.run import Limits, Run, tuned
from examples.quadratic.simulate import Setting, simulate
from kimad.trace import PaperSine

ESTIMATES: tuple[Estimate, ...] = ("last", "start", "random")
KIMADS = {"uniform": "Kimad", "knapsack": "Kimad+"}
FIXED = {"uniform": "fixed top-k, per layer", "whole": "fixed top-k, whole vector"}


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A line of the table and of the figure: a run, and how it was picked."""

    name: str
    run: Run
    picked: str  # from what, afterwards; empty where there was no choice but the step size
    target_round_s: float  # s, what a round should take: T, or that of a fixed message at the link's mean rate


def batches(config: Config) -> Iterable[list[Sender]]:
    """Senders that are simulated together: alike in allocation and, for few idle bins, in T."""
    yield [Sender("uniform", entries=k) for k in config.entries]
    yield [Sender("whole", entries=k) for k in (*config.entries, config.layers * config.width)]
    for allocation in KIMADS:
        for round_s in config.round_s:
            yield [Sender(allocation, round_s=round_s, estimate=estimate) for estimate in ESTIMATES]


def run_all(config: Config, link: PaperSine) -> list[Run]:
    """Every sender on one link, each with its best step size."""
    problem = make(config.workers, config.layers, config.width, config.seed)
    setting = Setting(problem, link, config.compute_s, config.seed)
    limits = Limits(config.reached[-1], config.seconds, config.rounds)
    runs: list[Run] = []
    for senders in batches(config):
        pairs = [(sender, step / problem.smoothness) for sender in senders for step in config.steps]
        runs += tuned(simulate(setting, pairs, limits), limits.target)
    return runs


def lines(config: Config, link: PaperSine, runs: list[Run]) -> list[Line]:
    """The lines to be shown: of every family the best, and of those with a time budget the worst too."""
    size = config.layers * config.width

    def line(name: str, of: Callable[[Sender], bool], which: str = "best", among: str = "") -> Line:
        found = sorted((run for run in runs if of(run.sender)), key=lambda run: run.rank(config.reached[-1]))
        run = found[0 if which == "best" else -1]
        value = f"K = {run.sender.entries}" if among == "K" else f"T = {run.sender.round_s:g} s" if among else ""
        picked = f"{value}, {which} of {len(found)}" if among else ""
        return Line(name, run, picked, target_round_s(config, link, run.sender))

    def fixed(allocation: str) -> Callable[[Sender], bool]:
        return lambda s: s.allocation == allocation and s.entries in config.entries

    def budgeted(allocation: str, estimate: Estimate) -> Callable[[Sender], bool]:
        return lambda s: (s.allocation, s.estimate) == (allocation, estimate) and s.round_s is not None

    shown = [line("uncompressed", lambda s: s.entries == size)]
    shown += [line(name, fixed(allocation), among="K") for allocation, name in FIXED.items()]
    for allocation, name in KIMADS.items():
        shown += [
            line(f"{name}, last sample", budgeted(allocation, "last"), "worst", "T"),
            line(f"{name}, last sample", budgeted(allocation, "last"), "best", "T"),
            line(f"{name}, rate known", budgeted(allocation, "start"), "best", "T"),
            line(f"{name}'s sizes at random", budgeted(allocation, "random"), "best", "T"),
        ]
    return shown


def target_round_s(config: Config, link: PaperSine, sender: Sender) -> float:
    """T, or what a round with a fixed message takes at the link's mean rate."""
    if sender.round_s is not None:
        return sender.round_s
    size = config.layers * config.width
    bits = float(message_bits(np.array(sender.entries), size))
    return config.compute_s + 2 * bits / (1e6 * (link.delta_mbps + link.eta_mbps / 2))

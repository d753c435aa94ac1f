"""One rank with a slow link: plans of its own against one plan for all: `python -m benchmarks.unequal`.

Four simulated workers at 330 Mbit/s, of which one is slower by some factor, and real training on a virtual clock. One
plan for all is what the same planner decides that is not told who received what from whom.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from benchmarks.rows import Row, command
from benchmarks.tasks import TASKS
from benchmarks.virtual import COMPUTE_S, EVERY, Network, adaptive_seconds, call_alone, fixed_losses, smoothed
from kimad.config import Config
from kimad.observation import Observation
from kimad.sim import Result, Scenario
from kimad.sim.models import MODELS
from kimad.sim.simulate import follow
from kimad.sim.strategy import Adaptive, make_strategy
from kimad.statistics import Everyone, Statistics
from kimad.trace import parse_links

RANKS, MBPS, STEPS = 4, 330, 200
FACTORS = (1, 2, 5, 10)  # by which an uplink is slower
SETTLED = 20  # steps
STRATEGIES = ("kimad", "error-bound:0.5", "overlap:0.5", "step-time:0.2")
TRAINED, SEEDS, RHO, SLOWER = ("mlp", "resnet"), 3, 5.0, 10.0
TARGETS = (0.3, 0.8)  # shares of the uncompressed run's steps


def blind(strategy: Adaptive) -> Adaptive:
    """The same strategy, told nothing of single peers: it has one plan for all."""
    observe = strategy.observe

    def without_peers(seen: Observation) -> None:
        everyone = seen.everyone
        width = Statistics.numbers(everyone.buckets, everyone.layers)
        observe(replace(seen, everyone=Everyone(everyone.table[:, :width], everyone.buckets, everyone.layers)))

    strategy.observe = without_peers  # type: ignore[method-assign]
    return strategy


def simulated(strategy: str, up_mbps: float, down_mbps: float, own: bool, steps: int = STEPS) -> Result:
    """ResNet-18, 0.1 s of computing; the last worker's link is as given."""
    links = [f"const:{MBPS}"] * (RANKS - 1) + [f"const:{up_mbps:g}/const:{down_mbps:g}"]
    workload = MODELS["resnet18"]().workload("resnet18", None, 0.05, 0)
    scenario = Scenario(workload, parse_links(links, RANKS), steps)
    chosen = make_strategy(strategy, scenario.site, workload.layers)
    if not isinstance(chosen, Adaptive):
        raise ValueError(f"strategy {strategy!r} decides nothing")
    return follow(scenario, strategy, chosen if own else blind(chosen))


def gains(strategy: str, up_mbps: float, down_mbps: float, steps: int) -> tuple[float, str]:
    """Times as much progress a second with plans of its own; step time and share of the energy that arrives."""
    progress, texts = [], []
    for own in (True, False):
        result = simulated(strategy, up_mbps, down_mbps, own, steps)
        step_s, kept = result.step_s[SETTLED:].mean(), result.kept[SETTLED:]
        progress.append(float(np.sqrt(kept).mean() / step_s))
        texts.append(f"{step_s:.3f} s, {100 * kept.mean():.0f} %")
    return progress[0] / progress[1], f"{texts[0]} against {texts[1]}"


def seconds(task: str, seed: int, workers: int, targets: Sequence[float], own: bool) -> list[float]:
    """Virtual seconds to held-out losses, where the last worker's uplink is SLOWER times slower than other links."""
    network = Network("const:1", RHO, workers=workers, slow_uplink=SLOWER)
    return adaptive_seconds(task, seed, Config(), targets, network, change=None if own else blind)


def uncompressed(task: str, seed: int, workers: int) -> list[float]:
    """Held-out losses of a run that sends everything."""
    return fixed_losses(task, seed, "float32", TASKS[task].steps, count=workers)


def training_rows(seeds: int, tasks: Sequence[str], worlds: Sequence[int]) -> list[Row]:
    """How many times sooner a loss is reached."""
    rows = []
    with multiprocessing.get_context("spawn").Pool() as pool:
        for task, workers in product(tasks, worlds):
            steps = TASKS[task].steps
            dense = pool.map(call_alone, [(uncompressed, (task, seed, workers)) for seed in range(seeds)], 1)
            looks = [round(share * steps / EVERY) for share in TARGETS]
            targets = [float(np.mean([smoothed(losses[:look]) for losses in dense])) for look in looks]
            keys = list(product((False, True), range(seeds)))
            found = pool.map(call_alone, [(seconds, (task, seed, workers, targets, own)) for own, seed in keys], 1)
            one, two = np.array(found).reshape(2, seeds, len(targets))
            each = np.log(one / two)
            note = (
                f"rho {RHO:g} at the fast rate, computing {COMPUTE_S:g} s; {np.exp(each.min()):.2f} to "
                f"{np.exp(each.max()):.2f} over seeds and {len(targets)} targets"
            )
            name = f"training, {task}, {workers} workers, uplink {SLOWER:g}x slower, sooner"
            rows.append(Row(name, float(np.exp(each.mean())), "x", 1.0, "higher", note))
    return rows


def unequal_rows(quick: bool) -> list[Row]:
    """Progress a second with plans of its own over one plan for all: never less, and more where an uplink is slow."""
    steps = 60 if quick else STEPS
    rows = []
    for strategy, factor in product(STRATEGIES[:2] if quick else STRATEGIES, FACTORS):
        bound = 1.3 if factor == max(FACTORS) else 1.0
        gain, note = gains(strategy, MBPS / factor, MBPS, steps)
        rows.append(Row(f"{strategy}, uplink {factor}x slower", gain, "x", bound, "higher", note))
    for strategy in STRATEGIES[:2]:
        gain, note = gains(strategy, MBPS / 10, MBPS / 10, steps)
        rows.append(Row(f"{strategy}, both directions 10x slower", gain, "x", 1.0, "higher", note))
        gain, note = gains(strategy, MBPS, MBPS / 10, steps)
        rows.append(Row(f"{strategy}, downlink 10x slower", gain, "x", 1.0, "higher", note))
    return rows + (training_rows(1, TRAINED[:1], (RANKS,)) if quick else training_rows(SEEDS, TRAINED, (RANKS, 2)))


main = command("unequal", unequal_rows)

if __name__ == "__main__":
    main()

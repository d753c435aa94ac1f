"""How long a layer may wait: training with the two bounds of staleness and without, `python -m benchmarks.staleness`.

Real training on a virtual clock (`virtual`). A "quiet" layer is one whose gradient is small, though Adam makes as much
of it as of any other. Times to a held-out loss, with both bounds and with neither, are compared seed by seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from benchmarks.rows import NEVER, Row, command
from benchmarks.tasks import TASKS
from benchmarks.virtual import Network, adaptive_seconds, fixed_losses, smoothed
from kimad.config import Config
from kimad.plan import Plan

RHO = (10.0, 100.0)  # seconds of the dense gradient over seconds of computing
TARGET = 0.8  # of the steps of the uncompressed run, whose loss is the target
UNBOUND = replace(Config(), max_drop_steps=1 << 30, max_owed_factor=1e30)


@final
@dataclass
class Waiting:
    """Steps in a row in which nothing of a layer was sent."""

    longest: int = 0

    def __post_init__(self) -> None:
        self._now: dict[str, int] = {}

    def see(self, plan: Plan) -> None:
        """One more step."""
        for name, option in plan.options.items():
            self._now[name] = self._now.get(name, 0) + 1 if option.operator == "drop" else 0
        self.longest = max(self.longest, *self._now.values())


def train(task: str, config: Config, rho: float, seed: int, target: float) -> tuple[float, int]:
    """Virtual seconds until the loss is reached, and the longest wait of a layer in steps."""
    waiting = Waiting()
    network = Network("const:1", rho, overlap=True)
    (seconds,) = adaptive_seconds(task, seed, config, [target], network, waiting.see)
    return min(seconds, NEVER), waiting.longest


def compare(task: str, rho: float, seeds: Sequence[int], target: float) -> tuple[float, str, int]:
    """Time without any bound / time with the defaults, geometric mean over seeds; its spread; the longest wait."""
    before = [train(task, UNBOUND, rho, seed, target) for seed in seeds]
    after = [train(task, Config(), rho, seed, target) for seed in seeds]
    gains = [b / a for (b, _), (a, _) in zip(before, after, strict=True)]
    wait = max(wait for _, wait in after)
    said = f"by seed {', '.join(f'{g:.2f}' for g in gains)}; longest wait {wait} steps,"
    return statistics.geometric_mean(gains), f"{said} without {max(wait for _, wait in before)}", wait


def measure(quick: bool) -> list[Row]:
    """The defaults against no bound at all, and the longest wait under them."""
    torch.set_num_threads(1)
    rows = []
    seeds = range(1 if quick else 4)
    for task in ("quiet mlp",) if quick else ("mlp", "quiet mlp", "resnet"):
        steps = TASKS[task].steps
        runs = [fixed_losses(task, seed, "float32", round(TARGET * steps)) for seed in seeds]
        target = statistics.fmean(smoothed(losses) for losses in runs)
        for rho in RHO[-1:] if quick else RHO:
            gain, said, wait = compare(task, rho, seeds, target)
            rows.append(Row(f"{task}, rho {rho:g}: time to loss, unbounded / bounded", gain, "x", 0.97, "higher", said))
            most = Config().max_drop_steps
            rows.append(Row(f"{task}, rho {rho:g}: longest wait of a layer", wait, "steps", most, "lower"))
    return rows


main = command("staleness", measure)

if __name__ == "__main__":
    main()

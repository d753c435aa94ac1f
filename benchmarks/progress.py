"""The default objective against fixed ways to send, tuned for each network afterwards: `python -m benchmarks.progress`.

Training is real, time is virtual (`virtual`), so that figures depend neither on this machine's speed nor on its load.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import NEVER, Row, command
from benchmarks.tasks import TASKS
from benchmarks.virtual import (
    COMPUTE_S,
    EVERY,
    FAIR,
    Network,
    adaptive_seconds,
    call_alone,
    fixed_losses,
    fixed_seconds,
    smoothed,
)
from kimad.config import Config

Floats = NDArray[np.float64]

DENSITIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.17, 0.25)
SPARSE = tuple(f"topk:{density:g}" for density in DENSITIES)
GRID = (*SPARSE, "int8", "bfloat16", "float32")
COARSE_GRID = ("topk:0.005", "topk:0.02", "topk:0.1", "int8", "float32")
TARGETS = (0.3, 0.8)  # what the uncompressed run has reached after these shares of its steps
PERIOD_S = 200 * COMPUTE_S
# Links of mean 1 (scaled to each rho). The second half was kept aside while settings were chosen.
STEADY = {"const": "const:1"}
SWINGING = {"sine 11x": f"sine:0.1,1.1,{PERIOD_S:g}", "square 10x": f"square:0.1,1,{PERIOD_S:g}"}
KEPT_BACK = {"walk 11x": "walk:0.1,1.1,0.3,7", "markov 10x": f"markov:1,0.1,{PERIOD_S / 2:g},{PERIOD_S / 4:g},3"}
OUTAGES = {"square 30x": f"square:0.0333,1,{PERIOD_S:g}", "square 100x": f"square:0.01,1,{PERIOD_S:g}"}
RHOS = (5.0, 30.0)
MEASURED_TASKS, QUICK_TASKS, SEEDS = ("mlp", "resnet", "transformer"), ("resnet",), 3
ALL_RHOS = (0.2, 1.0, 5.0, 30.0, 100.0)


@final
@dataclass(frozen=True)
class Setting:
    """A task on a network."""

    task: str
    name: str
    network: Network

    def __str__(self) -> str:
        return f"{self.task}, {self.name}, rho {self.network.rho:g}{', overlap' if self.network.overlap else ''}"


@final
@dataclass(frozen=True)
class Times:
    """Virtual seconds to each target, (seeds, targets): of every fixed option, and of the adaptive runs."""

    fixed: Mapping[str, Floats]
    adaptive: Floats

    def of(self, option: str) -> Floats:
        """(targets,) geometric means over seeds; NEVER where one did not arrive."""
        return mean_of(self.fixed[option])

    @property
    def best(self) -> Floats:
        """(targets,) of the option that was the best one, picked afterwards."""
        best: Floats = np.min([self.of(option) for option in self.fixed], axis=0)
        return best

    @property
    def score(self) -> float:
        """How many times sooner than the best fixed option, over targets."""
        return self.sooner_than(self.best)

    def sooner_than(self, seconds: Floats) -> float:
        """Geometric mean over targets of seconds / ours."""
        return float(np.exp(np.mean(np.log(seconds / mean_of(self.adaptive)))))


def mean_of(seconds: Floats) -> Floats:
    """(targets,) geometric means over seeds."""
    means: Floats = np.exp(np.log(np.minimum(seconds, NEVER)).mean(axis=0))
    return means


def settings(tasks: Sequence[str]) -> list[Setting]:
    """All that is measured."""
    found = []
    for task in tasks:
        for name, link in {**STEADY, **SWINGING, **KEPT_BACK}.items():
            for rho in ALL_RHOS if name == "const" else RHOS:
                found.append(Setting(task, name, Network(link, rho)))
        for name, link in OUTAGES.items():
            found.append(Setting(task, name, Network(link, 30.0)))
        for name, link in {**SWINGING, **KEPT_BACK, **OUTAGES}.items():
            found.append(Setting(task, name, Network(link, 30.0, overlap=True)))
    return found


@final
class Study:
    """Runs what is needed, once, on all cores."""

    def __init__(self, tasks: Sequence[str], seeds: int, grid: Sequence[str]) -> None:
        self._tasks = list(tasks)
        self._grid = list(grid)
        self._seeds = range(seeds)
        self._pool = multiprocessing.get_context("spawn").Pool()
        self.targets = self._find_targets()
        self._losses = self._train_fixed()

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()

    def _map(self, jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        return self._pool.map(call_alone, jobs, chunksize=1)

    def _find_targets(self) -> dict[str, tuple[float, ...]]:
        keys = list(product(self._tasks, self._seeds))
        runs = self._map([(fixed_losses, (task, seed, "float32", TASKS[task].steps)) for task, seed in keys])
        found: dict[str, tuple[float, ...]] = {}
        for task in self._tasks:
            own = [losses for (name, _), losses in zip(keys, runs, strict=True) if name == task]
            looks = [round(share * TASKS[task].steps / EVERY) for share in TARGETS]
            found[task] = tuple(float(np.mean([smoothed(losses[:look]) for losses in own])) for look in looks)
        return found

    def _train_fixed(self) -> dict[tuple[str, int, str], list[float]]:
        keys = list(product(self._tasks, self._seeds, self._grid))
        jobs = [
            (fixed_losses, (task, seed, option, FAIR * TASKS[task].steps, min(self.targets[task])))
            for task, seed, option in keys
        ]
        return dict(zip(keys, self._map(jobs), strict=True))

    def times(self, found: Sequence[Setting], config: Config) -> list[Times]:
        """Of every setting, with this configuration."""
        keys = list(product(found, self._seeds))
        jobs = [
            (adaptive_seconds, (s.task, seed, config, self.targets[s.task], self._network(s, seed))) for s, seed in keys
        ]
        runs = dict(zip(keys, self._map(jobs), strict=True))
        return [
            Times(
                {option: np.array([self._fixed(s, seed, option) for seed in self._seeds]) for option in self._grid},
                np.array([runs[s, seed] for seed in self._seeds]),
            )
            for s in found
        ]

    def _network(self, setting: Setting, seed: int) -> Network:
        """Every seed begins at another place of the link's period."""
        return replace(setting.network, start_s=PERIOD_S * (seed + 0.25) / len(self._seeds))

    def _fixed(self, s: Setting, seed: int, option: str) -> list[float]:
        losses = self._losses[s.task, seed, option]
        return fixed_seconds(s.task, option, losses, self.targets[s.task], self._network(s, seed))


def progress_rows(quick: bool) -> list[Row]:
    """Every bound; quick: the mild networks of one small task, one seed, and a coarse grid."""
    tasks = QUICK_TASKS if quick else MEASURED_TASKS
    found = settings(tasks)
    if quick:
        found = [s for s in found if s.name in (*STEADY, *SWINGING) and not s.network.overlap and s.network.rho in RHOS]
    study = Study(tasks, 1, COARSE_GRID) if quick else Study(tasks, SEEDS, GRID)
    try:
        return rows_of(found, study.times(found, Config()))
    finally:
        study.close()


def rows_of(found: Sequence[Setting], times: Sequence[Times]) -> list[Row]:
    """Rows from what was measured."""
    known = dict(zip(found, times, strict=True))
    mild = [s for s in found if not s.network.overlap and s.name not in OUTAGES]
    hidden = [s for s in found if s.network.overlap]
    outages = [s for s in found if s.name in OUTAGES]
    rows = [Row(f"{s}: best fixed / Progress", known[s].score, "x", 0.9, "higher", said(known[s]))
            for s in (*mild, *hidden)]  # fmt: skip
    for name, names in (("tuned on", (*STEADY, *SWINGING)), ("kept back", tuple(KEPT_BACK))):
        scores = [known[s].score for s in mild if s.name in names]
        if scores:
            note = f"{len(scores)} rows"
            rows.append(Row(f"mean without overlap, links {name}", mean(scores), "x", 0.97, "higher", note))
    rows += _over_all_rhos(known)
    if hidden:
        name = "overlap, rho 30, swings of 10x or more"
        scores = [known[s].score for s in hidden]
        at_mean = [known[s].sooner_than(_tuned_at_mean(known, s)) for s in hidden]
        rows.append(Row(f"{name}: best fixed / Progress", mean(scores), "x", 1.0, "higher"))
        rows.append(Row(f"{name}: density tuned at the mean rate / Progress", mean(at_mean), "x", 1.08, "higher"))
    if outages:
        arrived = float(np.mean([np.isfinite(known[s].adaptive).all() for s in outages]))
        rows.append(Row("outages: share of settings whose targets all runs reached", arrived, "", 1.0, "higher"))
    for option, bounds in (("float32", (4.0, 15.0)), ("int8", (1.8, 4.0))):
        for rho, bound in zip(RHOS, bounds, strict=True):
            scores = [known[s].sooner_than(known[s].of(option)) for s in mild if s.network.rho == rho]
            note = f"{min(scores):.2f}..{max(scores):.2f}"
            rows.append(Row(f"{option} / Progress at rho {rho:g}", mean(scores), "x", bound, "higher", note))
    return rows


def _over_all_rhos(known: Mapping[Setting, Times]) -> list[Row]:
    """One density for all networks, the best one, against Progress."""
    rows = []
    for task in sorted({s.task for s in known}):
        steady = [s for s in known if s.task == task and s.name == "const" and not s.network.overlap]
        per_option = {o: mean([float(np.exp(np.log(known[s].best / known[s].of(o)).mean())) for s in steady])
                      for o in known[steady[0]].fixed}  # fmt: skip
        best = max(per_option, key=lambda option: per_option[option])
        ours = mean([known[s].score for s in steady])
        name = f"{task}, const, all rho: Progress / the best single density for all of them"
        note = f"{best}: {per_option[best]:.2f} of the best for each, ours {ours:.2f}"
        rows.append(Row(name, ours / per_option[best], "x", 1.04, "higher", note))
    return rows


def _tuned_at_mean(known: Mapping[Setting, Times], s: Setting) -> Floats:
    """(targets,) seconds of the density that is best on a constant link with the same mean rate."""
    steady = known[Setting(s.task, "const", Network(STEADY["const"], s.network.rho))]
    options = list(steady.fixed)
    picked = np.argmin([steady.of(option) for option in options], axis=0)
    return np.array([known[s].of(options[i])[target] for target, i in enumerate(picked)])


def mean(scores: Sequence[float]) -> float:
    """Geometric."""
    return float(np.exp(np.mean(np.log(scores))))


def said(times: Times) -> str:
    """The options that were best, and the seconds."""
    best = [min(times.fixed, key=lambda option: times.of(option)[i]) for i in range(len(TARGETS))]
    seconds = ", ".join(f"{ours:.0f} s" for ours in mean_of(times.adaptive))
    return f"best {' and '.join(best)}: {', '.join(f'{s:.0f} s' for s in times.best)}; ours {seconds}"


main = command("progress", progress_rows)

if __name__ == "__main__":
    main()

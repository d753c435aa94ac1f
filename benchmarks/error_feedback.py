"""Kinds of error feedback at equal bytes: `python -m benchmarks.error_feedback`.

Every layer sends the same densities in every step, whatever the kind, so that all send the same bytes. Compared is the
held-out loss after as many steps, with the rate that is good without compression.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from itertools import product

from benchmarks.rows import NEVER, Row, command
from benchmarks.tasks import TASKS
from benchmarks.virtual import call_alone, fixed_losses, smoothed
from kimad.config import ERROR_FEEDBACKS

DEFAULT = "ef14"
OPTIONS = ("topk:0.01:log4", "topk:0.05:log4")
WITH_MOMENTUM = ("resnet", "transformer")  # tasks whose optimizer DGC can take the momentum of
DIVERGED = 100.0  # times the default's loss, at most, so that a mean over rows says something
LEAST = 0.95  # of the default's loss, that another kind may have before it should be the default


def final_loss(task: str, option: str, kind: str, seed: int) -> float:
    """Held-out, after the task's steps; NEVER where training diverged."""
    losses = fixed_losses(task, seed, option, TASKS[task].steps, error_feedback=kind)
    found = smoothed(losses)
    return found if found < NEVER else NEVER


def measure(quick: bool) -> list[Row]:
    """Each kind's loss over the default's, by task and density, and over all of them."""
    tasks, seeds = (("mlp",), (0,)) if quick else (("mlp", "resnet", "transformer"), (0, 1, 2))
    options = OPTIONS[-1:] if quick else OPTIONS
    kinds = [k for k in ERROR_FEEDBACKS if not (quick and k == "dgc")]
    jobs = [job for job in product(tasks, options, kinds, seeds) if job[2] != "dgc" or job[0] in WITH_MOMENTUM]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = dict(zip(jobs, pool.map(call_alone, [(final_loss, job) for job in jobs], 1), strict=True))
        dense = dict(zip(tasks, pool.map(call_alone, [(_dense, (task, seeds)) for task in tasks], 1), strict=True))
    rows = []
    for kind in kinds:
        if kind == DEFAULT:
            continue
        over = []
        for task, option in product(tasks, options):
            if (task, option, kind, seeds[0]) not in found:
                continue
            ours = [found[task, option, DEFAULT, seed] for seed in seeds]
            theirs = [found[task, option, kind, seed] for seed in seeds]
            each = [b / a for a, b in zip(ours, theirs, strict=True)]
            over.append(min(statistics.geometric_mean(each), DIVERGED))
            said = f"by seed {', '.join(f'{e:.3g}' for e in each)}; loss {statistics.fmean(theirs):.3g}, {DEFAULT} "
            said += f"{statistics.fmean(ours):.3g}, uncompressed {dense[task]:.3g}"
            rows.append(Row(f"{task}, {option}: {kind} / {DEFAULT}, loss", over[-1], "x", LEAST, "higher", said))
        name = f"all: {kind} / {DEFAULT}, loss"
        rows.append(Row(name, statistics.geometric_mean(over), "x", LEAST, "higher", f"{len(over)} rows"))
    return rows


def _dense(task: str, seeds: tuple[int, ...]) -> float:
    """Held-out loss without compression, mean over seeds."""
    return statistics.fmean(final_loss(task, "float32", DEFAULT, seed) for seed in seeds)


main = command("error_feedback", measure)

if __name__ == "__main__":
    main()

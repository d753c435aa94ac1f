"""VGrow with each divergence, and on images the GANs beside it, with the same networks and processor seconds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from examples.metrics.features import Features, fit_features
from examples.vgrow.divergence import DIVERGENCES, DivergenceError
from examples.vgrow.evaluate import image_scores, plane_scores
from examples.vgrow.gan import KINDS, GanSettings, train_gan
from examples.vgrow.target import Target
from examples.vgrow.training import Settings, generated, make_networks, settings_for, vgrow

JUDGED = 1000  # generated rows
RATES = (2e-4, 5e-4, 1e-3)  # of each kind of GAN; the best on validation images counts
MANY = 10**9  # steps: the processor seconds end it
Progress = Callable[[str], None]


@final
@dataclass(frozen=True)
class Result:
    """One trained generator."""

    target: str
    method: str
    scores: dict[str, float]  # on held-out data
    cpu_s: float  # processor seconds of training
    rows: Tensor  # what it generates
    trail: tuple[Tensor, ...] = ()  # some of VGrow's particles, from round to round


def grow(target: Target, settings: Settings, judge: Callable[[Tensor], dict[str, float]]) -> Result:
    """Train by VGrow."""
    networks = make_networks(settings, target)
    begin_s = time.process_time()
    trail = [done.particles for done in vgrow(networks, settings, target)]
    cpu_s = time.process_time() - begin_s
    rows = generated(networks[0], JUDGED)
    kept = tuple(trail[i] for i in sorted({round(i * (len(trail) - 1) / 5) for i in range(6)}))
    return Result(target.name, f"vgrow-{settings.divergence}", judge(rows), cpu_s, rows, kept)


def rival(
    target: Target, kind: str, settings: Settings, budget_s: float, features: Features, rates: Sequence[float]
) -> Result:
    """Train a kind of GAN with each rate for so many processor seconds; the best on validation images."""
    if target.dataset is None:
        raise ValueError(f"{target.name} has no validation part")
    found: list[tuple[float, Result]] = []
    for rate in rates:
        networks = make_networks(settings, target)
        begin_s = time.process_time()
        for _ in train_gan(networks, GanSettings(kind, MANY, settings.batch, rate, seed=settings.seed), target):
            if time.process_time() - begin_s > budget_s:
                break
        rows = generated(networks[0], JUDGED)
        if not bool(rows.isfinite().all()):
            continue
        result = Result(target.name, f"{kind}, rate {rate:g}", image_scores(target, features, rows), budget_s, rows)
        if all(math.isfinite(value) for value in result.scores.values()):
            found.append((features.distance_to(target.images(rows), target.dataset.validation), result))
    if not found:
        raise DivergenceError(f"{kind} diverged with each of the rates {', '.join(f'{rate:g}' for rate in rates)}")
    return min(found, key=lambda one: one[0])[1]


def compare(
    target: Target, divergences: Sequence[str], seed: int, rounds: int | None, progress: Progress, quick: bool
) -> tuple[list[Result], Features | None]:
    """All that is shown of one target."""
    settings = replace(settings_for(target.name), seed=seed)
    settings = settings if rounds is None else replace(settings, rounds=rounds)
    features = fit_features(target.dataset) if target.dataset is not None else None

    def judge(rows: Tensor) -> dict[str, float]:
        return image_scores(target, features, rows) if features is not None else plane_scores(target, rows)

    results = []
    for name in divergences:
        progress(f"{target.name}: vgrow-{name}")
        results.append(grow(target, replace(settings, divergence=name), judge))
    if features is not None:
        budget_s = statistics.fmean(result.cpu_s for result in results)
        for kind in KINDS:
            progress(f"{target.name}: {kind}")
            results.append(rival(target, kind, settings, budget_s, features, RATES[-1:] if quick else RATES))
    return results, features


ALL = tuple(DIVERGENCES)

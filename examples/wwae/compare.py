"""All methods with all weights, with one architecture and one budget; of each the best weight on validation images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from examples.data.dataset import Dataset
from examples.metrics.features import Features
from examples.metrics.gaussian_w2 import standard_w2_squared
from examples.wwae.evaluate import Scores, scores
from examples.wwae.model import AutoEncoder
from examples.wwae.objective import Method
from examples.wwae.training import Settings, make_model, train

METHODS = (
    Method("ae"),
    *(Method("vae", variance) for variance in (0.02, 0.05, 0.1)),
    *(Method("wae-mmd", weight) for weight in (3.0, 10.0)),
    *(Method("wwae", weight) for weight in (0.1, 0.3, 1.0)),
    *(Method("wwae-diagonal", weight) for weight in (0.1, 0.3, 1.0)),
)


@final
@dataclass(frozen=True)
class Trained:
    """One model, and what it is worth."""

    method: Method
    model: AutoEncoder
    validation: Scores
    test: Scores
    cpu_s: float  # processor seconds of training


def fit(settings: Settings, dataset: Dataset) -> tuple[AutoEncoder, float]:
    """Train on one process. Returns the model and processor seconds."""
    model = make_model(settings, dataset)
    begin_s = time.process_time()
    for _ in train(model, model.parameters(), settings, dataset):
        pass
    return model, time.process_time() - begin_s


def compare(
    methods: Sequence[Method], settings: Settings, dataset: Dataset, features: Features, progress: Callable[[str], None]
) -> list[Trained]:
    """Train with each method; all else is as in `settings`."""
    found = []
    for i, method in enumerate(methods):
        progress(f"[{i + 1}/{len(methods)}] {method}")
        model, cpu_s = fit(replace(settings, method=method), dataset)
        validation, test = (
            scores(model, method, features, part, settings.seed) for part in (dataset.validation, dataset.test)
        )
        found.append(Trained(method, model, validation, test, cpu_s))
    return found


def best(trained: Sequence[Trained], kind: str) -> Trained:
    """Of one kind, the weight whose samples are nearest to the validation images."""
    return min((one for one in trained if one.method.kind == kind), key=lambda one: one.validation.samples)


def reference(dataset: Dataset, latent: int, seed: int) -> float:
    """Latent W2² of as many samples of the prior as there are test images; exact variances can be nearer."""
    cloud = torch.randn(len(dataset.test), latent, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return float(standard_w2_squared(cloud.mean(dim=0), torch.cov(cloud.T, correction=0), eps=0.0))

"""How near generated points are to the data."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.metrics.assignment import w2
from examples.metrics.features import Features
from examples.vgrow.target import FOUND, NEAR, Target

MOST_POINTS = 800  # of which the exact W2 is taken


def plane_scores(target: Target, points: Tensor) -> dict[str, float]:
    """Modes found, points near one, the least mode's share of its due, and W2 to as many held-out points."""
    if target.modes is None:
        raise ValueError(f"{target.name} has no modes")
    distance, mode = torch.cdist(points, target.modes).min(dim=1)
    near = distance <= NEAR * target.std
    due = len(points) / len(target.modes)
    share = torch.bincount(mode[near], minlength=len(target.modes)) / due
    count = min(MOST_POINTS, len(points), len(target.test))
    rows = torch.randperm(len(target.test), generator=torch.Generator().manual_seed(0))[:count]
    return {
        "modes": int((share >= FOUND).sum()),
        "near": float(near.float().mean()),
        "least_share": float(share.min()),
        "w2": w2(points[:count], target.test[rows]),
    }


def image_scores(target: Target, features: Features, rows: Tensor) -> dict[str, float]:
    """Fréchet distance to held-out images, the least class's share of its due, and the mean way to a training image."""
    images = target.images(rows)
    found = {"frechet": features.distance(images)}
    if features.classify is not None and target.dataset is not None and target.dataset.train.labels is not None:
        classes = int(target.dataset.train.labels.max()) + 1
        labels = features.classify(images)
        found["least_share"] = float(torch.bincount(labels, minlength=classes).min()) * classes / len(labels)
    found["nearest"] = float(torch.cdist(rows, target.train).min(dim=1).values.mean()) / 2
    return found

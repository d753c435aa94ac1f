"""What a trained model is worth, on images that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from examples.data.dataset import Split
from examples.metrics.features import Features
from examples.metrics.gaussian_w2 import standard_w2_squared
from examples.wwae.model import AutoEncoder
from examples.wwae.moments import aggregated
from examples.wwae.objective import Method


@final
@dataclass(frozen=True)
class Scores:
    """Smaller is better. They belong together: a collapsed posterior has a fine latent space and useless samples."""

    latent_w2_squared: float  # aggregated posterior of all images to the prior, full covariance
    reconstruction: float  # squared error, summed over pixels, mean over images; of the posterior's mean
    samples: float  # Fréchet distance of decoded samples of the prior
    reconstructions: float  # Fréchet distance of reconstructions


@torch.no_grad()
def scores(model: AutoEncoder, method: Method, features: Features, split: Split, seed: int = 0) -> Scores:
    """On one part of the data; as many samples of the prior as it has images.

    A deterministic method's posterior is a point: the variances that its encoder gives were never learnt.
    """
    images = split.images
    mean, log_variance = model.posterior(images)
    again = model.decode(mean)
    if method.deterministic:
        log_variance = torch.full_like(log_variance, -torch.inf)
    return Scores(
        float(standard_w2_squared(*aggregated(mean.double(), log_variance.double()), eps=0.0)),
        float((again - images).square().flatten(1).sum(dim=1).mean()),
        features.distance_to(samples(model, len(images), seed), split),
        features.distance_to(again, split),
    )


@torch.no_grad()
def samples(model: AutoEncoder, count: int, seed: int = 0) -> Tensor:
    """Images from the prior."""
    return model.decode(torch.randn(count, model.latent, generator=torch.Generator().manual_seed(seed)))

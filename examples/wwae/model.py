"""An auto-encoder with a Gaussian posterior; all methods share it."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

LOG_VARIANCE = (-10.0, 4.0)  # within which the encoder's is kept


@final
class Output(NamedTuple):
    """Of B images. The posterior of an image is N(mean, diag(exp(log_variance)))."""

    reconstruction: Tensor  # [B, C, H, W]
    mean: Tensor  # [B, D]
    log_variance: Tensor  # [B, D]
    latent: Tensor  # [B, D] what was decoded


@final
class AutoEncoder(nn.Module):
    """Two hidden layers on either side. Everything that is learnt from is in one forward, so that DDP sees it."""

    def __init__(self, shape: tuple[int, ...], latent: int, hidden: int = 256) -> None:
        super().__init__()
        self.shape, self.latent = shape, latent
        size = int(torch.tensor(shape).prod())
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, size), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, images: Tensor, noise: Tensor) -> Output:
        """noise: [B, D] standard normal; zeros for the posterior's mean."""
        mean, log_variance = self.posterior(images)
        latent = mean + (log_variance / 2).exp() * noise
        return Output(self.decode(latent), mean, log_variance, latent)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of variances."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, latent: Tensor) -> Tensor:
        """[B, D] to images."""
        images: Tensor = self.decoder(latent).view(-1, *self.shape)
        return images

"""The GANs that VGrow is held against, with the same networks: non-saturating with and without R1, and WGAN-GP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from examples.vgrow.divergence import DivergenceError
from examples.vgrow.model import Critic, Generator
from examples.vgrow.target import Target
from examples.vgrow.training import BETAS, critic_loss

KINDS = ("gan-ns", "gan-ns-r1", "wgan-gp")
CRITIC_STEPS = {"gan-ns": 1, "gan-ns-r1": 1, "wgan-gp": 5}


@final
@dataclass(frozen=True)
class GanSettings:
    """How a GAN is trained."""

    kind: str = "gan-ns"
    steps: int = 2000  # of the generator
    batch: int = 64
    rate: float = 1e-3  # of both
    penalty: float = 1.0  # R1 (arXiv 1801.04406) of gan-ns-r1, in every step; of wgan-gp (arXiv 1704.00028) it is 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DivergenceError(f"GAN {self.kind!r} is not known; allowed: {', '.join(KINDS)}")


def train_gan(networks: tuple[Generator, Critic], settings: GanSettings, target: Target) -> Iterator[int]:
    """Train, and yield the number of each generator step."""
    generator, critic = networks
    g_optimizer = torch.optim.Adam(generator.parameters(), settings.rate, BETAS)
    d_optimizer = torch.optim.Adam(critic.parameters(), settings.rate, BETAS)
    random = torch.Generator().manual_seed(1_000_003 * settings.seed)
    for step in range(settings.steps):
        for _ in range(CRITIC_STEPS[settings.kind]):
            data = target.train[torch.randint(len(target.train), (settings.batch,), generator=random)]
            with torch.no_grad():
                fake = generator(torch.randn(settings.batch, generator.noise, generator=random))
            d_optimizer.zero_grad()
            _loss(critic, data, fake, settings, random).backward()  # type: ignore[no-untyped-call]
            d_optimizer.step()
        g_optimizer.zero_grad()
        logits = critic(generator(torch.randn(settings.batch, generator.noise, generator=random)))
        loss = -logits.mean() if settings.kind == "wgan-gp" else functional.softplus(-logits).mean()
        loss.backward()
        g_optimizer.step()
        yield step


def _loss(critic: Critic, data: Tensor, fake: Tensor, settings: GanSettings, random: torch.Generator) -> Tensor:
    if settings.kind != "wgan-gp":
        return critic_loss(critic, critic, data, fake, settings.penalty if settings.kind == "gan-ns-r1" else 0.0)
    share = torch.rand(len(data), 1, generator=random)
    between = torch.lerp(data, fake, share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    gradient_penalty = (slope.norm(dim=1) - 1).square().mean()
    loss: Tensor = critic(fake).mean() - critic(data).mean() + 10.0 * gradient_penalty
    return loss

"""VGrow's loop, on one process or on each rank of several.

Of every round: a pool of noise and its particles P = G(z); some times a step of the critic, data against particles,
and a step of all particles along the flow; then some passes of the generator's regression on the particles with the
same z. Both networks go on from where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.vgrow.divergence import find
from examples.vgrow.flow import push, velocity
from examples.vgrow.model import Critic, Generator
from examples.vgrow.target import Target

Call = Callable[[Tensor], Tensor]
BETAS = (0.5, 0.99)  # of Adam


@final
@dataclass(frozen=True)
class Settings:
    """How generator and critic are trained; sizes are of all ranks together."""

    divergence: str = "kl"
    rounds: int = 120
    pool: int = 1280  # particles
    inner: int = 20  # steps of critic and particles a round
    batch: int = 128
    passes: int = 3  # of the regression over the pool
    step: float = 0.5  # s of the particles
    most: float = 0.5  # length of a velocity
    noise: int = 2  # dimensions of z
    hidden: tuple[int, ...] = (128, 128, 128)
    rate: float = 1e-3  # of the generator's Adam
    critic_rate: float = 1e-3
    penalty: float = 0.0  # R1: weight of ‖∇D‖² at the data
    penalty_every: int = 4  # critic steps
    seed: int = 0


PLANE = Settings()
GRID = Settings(rounds=200)
IMAGES = Settings(rounds=60, pool=640, inner=10, batch=64, noise=16, hidden=(256, 256), critic_rate=5e-4, most=1.0,
                  penalty=0.1)  # fmt: skip


def settings_for(target: str) -> Settings:
    """What suits a target of that name."""
    return {"ring": PLANE, "grid25": GRID}.get(target, IMAGES)


@final
@dataclass(frozen=True)
class Round:
    """What a round was like."""

    critic_loss: float  # of its last step
    generator_loss: float
    particles: Tensor  # [pool, D], where the flow has brought them


def make_networks(settings: Settings, target: Target) -> tuple[Generator, Critic]:
    """The same on every rank."""
    torch.manual_seed(settings.seed)
    size, hidden = target.train.shape[1], list(settings.hidden)
    return Generator(settings.noise, hidden, size, target.modes is None), Critic(size, hidden)


def critic_loss(critic: Call, bare: Critic, data: Tensor, fake: Tensor, penalty: float) -> Tensor:
    """softplus(-D(data)) + softplus(D(fake)) + penalty/2 ‖∇D(data)‖².

    critic is called once, with both, so that its hook sees one step; the penalty's graph goes through the bare module.
    """
    logits = critic(torch.cat([data, fake]))
    real, made = logits[: len(data)], logits[len(data) :]
    loss = functional.softplus(-real).mean() + functional.softplus(made).mean()
    if penalty > 0:
        at = data.detach().requires_grad_()
        (slope,) = torch.autograd.grad(bare(at).sum(), at, create_graph=True)
        loss = loss + penalty / 2 * slope.square().sum(dim=1).mean()
    return loss


def vgrow(
    networks: tuple[Generator, Critic], settings: Settings, target: Target, rank: int = 0, world_size: int = 1,
    called: tuple[Call, Call] | None = None,
) -> Iterator[Round]:  # fmt: skip
    """Train, and yield what each round was like. called: DDP around the networks, where there are several ranks.

    Noise, particles and data are each rank's own; every rank takes as many steps.
    """
    generator, critic = networks
    call_generator, call_critic = called or networks
    divergence = find(settings.divergence)
    g_optimizer = torch.optim.Adam(_parameters(call_generator), settings.rate, BETAS)
    d_optimizer = torch.optim.Adam(_parameters(call_critic), settings.critic_rate, BETAS)
    random = torch.Generator().manual_seed(1_000_003 * settings.seed + rank)
    pool, batch = settings.pool // world_size, settings.batch // world_size
    steps = 0
    for _ in range(settings.rounds):
        z = torch.randn(pool, settings.noise, generator=random)
        with torch.no_grad():
            particles = generator(z)
        for _ in range(settings.inner):
            rows = torch.randint(len(target.train), (batch,), generator=random)
            some = torch.randint(pool, (batch,), generator=random)
            penalty = settings.penalty * settings.penalty_every if steps % settings.penalty_every == 0 else 0.0
            d_optimizer.zero_grad()
            d_loss = critic_loss(call_critic, critic, target.train[rows], particles[some], penalty)
            d_loss.backward()  # type: ignore[no-untyped-call]
            d_optimizer.step()
            flow = velocity(critic, particles, divergence, settings.most)
            particles = push(particles, flow, settings.step, target.bound)
            steps += 1
        for _ in range(settings.passes):
            for rows in torch.chunk(torch.randperm(pool, generator=random), -(-pool // batch)):
                g_optimizer.zero_grad()
                g_loss = (call_generator(z[rows]) - particles[rows]).square().sum(dim=1).mean() / 2
                g_loss.backward()
                g_optimizer.step()
        yield Round(float(d_loss.detach()), float(g_loss.detach()), particles)


def _parameters(network: Call) -> Iterator[nn.Parameter]:
    if not isinstance(network, nn.Module):
        raise TypeError(f"a network is {type(network).__name__}; give a module")
    return network.parameters()


@torch.no_grad()
def generated(generator: Generator, count: int, seed: int = 0) -> Tensor:
    """[count, D] from new noise."""
    made: Tensor = generator(torch.randn(count, generator.noise, generator=torch.Generator().manual_seed(seed)))
    return made

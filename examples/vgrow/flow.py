"""Particles on their way to the data: x + s c(D(x)) ∇D(x)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.vgrow.divergence import Divergence


def velocity(critic: nn.Module, particles: Tensor, divergence: Divergence, most: float) -> Tensor:
    """c(D) ∇D at each particle, [N, D]; none is longer than `most`.

    critic: the module itself, not DDP around it. Nothing is added to its parameters' gradients, and no hook fires.
    """
    at = particles.detach().requires_grad_()
    logits = critic(at)
    (slope,) = torch.autograd.grad(logits.sum(), at)
    flow = divergence.speed(logits.detach()).unsqueeze(1) * slope
    length = flow.norm(dim=1, keepdim=True).clamp_min(1e-12)
    held: Tensor = flow * (most / length).clamp(max=1.0)
    return held


def push(particles: Tensor, flow: Tensor, step: float, bound: float) -> Tensor:
    """One step of Euler's; `bound`: largest magnitude of a coordinate."""
    return (particles + step * flow).clamp(-bound, bound)

"""Divergences of q (what is generated) from p (the data), and how fast each lets particles flow.

    D_f = ∫ p f(q/p)        v(x) = -f''(r) ∇r,  r = q/p = exp(-D)        v = c(D) ∇D,  c = r f''(r)

with D the logit of a classifier that tells data (1) from particles (0).

| name | f(r) | c(D) | the generator's loss whose gradient is the same with one particle step |
| kl | r log r | 1 | -D |
| js | r log r - (r+1) log((r+1)/2) | sigmoid(D) | -softplus(D) |
| logd | (r+1) log(r+1) - 2 log 2 | sigmoid(-D) | softplus(-D) |
| jeffreys | (r-1) log r | 1 + exp(D) | -(D + exp(D)) |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_LOGIT = 4.0  # at which the exponential of Jeffreys ends: a classifier that is sure would hurl particles away


class DivergenceError(Exception):
    """A divergence that is not known, or a step that cannot be taken."""


@final
@dataclass(frozen=True)
class Divergence:
    """speed: c of the logits. loss: of the generator, with the same gradient, entry by entry."""

    name: str
    speed: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]


def _capped_exp(logits: Tensor) -> Tensor:
    """exp, going on as a straight line from LARGEST_LOGIT."""
    capped = logits.clamp(max=LARGEST_LOGIT).exp()
    return capped + math.exp(LARGEST_LOGIT) * (logits - LARGEST_LOGIT).clamp(min=0.0)


DIVERGENCES = {
    one.name: one
    for one in (
        Divergence("kl", torch.ones_like, torch.neg),
        Divergence("js", torch.sigmoid, lambda logits: -functional.softplus(logits)),
        Divergence("logd", lambda logits: torch.sigmoid(-logits), lambda logits: functional.softplus(-logits)),
        Divergence(
            "jeffreys",
            lambda logits: 1 + logits.clamp(max=LARGEST_LOGIT).exp(),
            lambda logits: -(logits + _capped_exp(logits)),
        ),
    )
}


def find(name: str) -> Divergence:
    """By name. Raises DivergenceError."""
    if name not in DIVERGENCES:
        raise DivergenceError(f"divergence {name!r} is not known; allowed: {', '.join(DIVERGENCES)}")
    return DIVERGENCES[name]

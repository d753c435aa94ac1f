"""What each method makes small. Reconstruction is a sum over pixels and a mean over images: weights mean the same.

ae            ‖x − G(μ)‖²
vae           ‖x − G(z)‖² / 2v + KL(q(z|x) ‖ N(0, I))              v: the decoder's variance
wae-mmd       ‖x − G(μ)‖² + λ MMD(μ, prior)
wwae          ‖x − G(z)‖² + λ W2²(N(m, S), N(0, I))                m, S: moments of the aggregated posterior
wwae-diagonal the same with the diagonal of S
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from examples.metrics.gaussian_w2 import diagonal_w2_squared, standard_w2_squared
from examples.wwae.mmd import mmd
from examples.wwae.model import Output
from examples.wwae.moments import Shared, aggregated, own

KINDS = ("ae", "vae", "wae-mmd", "wwae", "wwae-diagonal")
DETERMINISTIC = ("ae", "wae-mmd")  # decode the posterior's mean


class ObjectiveError(Exception):
    """A method or a weight that cannot be used."""


@final
@dataclass(frozen=True)
class Method:
    """One of KINDS with its weight: λ, or the decoder's variance of a VAE."""

    kind: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ObjectiveError(f"kind {self.kind!r} is not known; allowed: {', '.join(KINDS)}")
        if not 0 <= self.weight < float("inf") or (self.kind == "vae" and self.weight == 0):
            raise ObjectiveError(
                f"weight {self.weight:g} is not allowed; it is a finite number of 0 or more, and above 0 for a VAE"
            )

    def __str__(self) -> str:
        return self.kind if self.kind == "ae" else f"{self.kind} {self.weight:g}"

    @property
    def deterministic(self) -> bool:
        """Whether no noise is added to the posterior's mean."""
        return self.kind in DETERMINISTIC


@final
class Parts(NamedTuple):
    """A loss and what it is made of; the latter two are detached."""

    total: Tensor
    reconstruction: Tensor
    penalty: Tensor


def loss(method: Method, output: Output, images: Tensor, prior: Tensor, shared: Shared = own) -> Parts:
    """Of one batch. prior: as many samples of the prior, for MMD. shared: how moments are taken over ranks."""
    error = (output.reconstruction - images).square().flatten(1).sum(dim=1).mean()
    penalty = torch.zeros(())
    if method.kind == "vae":
        variance = output.log_variance.exp()
        penalty = 0.5 * (output.mean.square() + variance - 1 - output.log_variance).sum(dim=1).mean()
        total = error / (2 * method.weight) + penalty
    else:
        if method.kind == "wae-mmd":
            penalty = mmd(output.mean, prior)
        elif method.kind != "ae":
            mean, cov = aggregated(output.mean, output.log_variance, shared)
            whole = method.kind == "wwae"
            penalty = standard_w2_squared(mean, cov) if whole else diagonal_w2_squared(mean, cov.diagonal())
        # A deterministic encoder's variance is not learnt; it takes part with a factor of 0, or DDP would miss it.
        unused = 0 * output.log_variance.sum() if method.deterministic else 0.0
        total = error + method.weight * penalty + unused
    return Parts(total, error.detach(), penalty.detach())

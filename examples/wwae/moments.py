"""Mean and covariance of the aggregated posterior, without a sample: the law of total covariance.

    m = mean_i μ(x_i)          S = mean_i (μ_i − m)(μ_i − m)' + diag(mean_i σ_i²)

Over all ranks these are means of sums that each rank has a part of. The exchange is differentiable, so that each
rank's gradient is that of the penalty on the whole batch; DDP's average over ranks is then the gradient of one process
with all images. (An all-reduce in place would leave the loss right and the gradient W times too small.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed.nn.functional as differentiable
from torch import Tensor

Shared = Callable[[Tensor], Tensor]  # a tensor's mean over the ranks


def own(values: Tensor) -> Tensor:
    """Of this rank alone."""
    return values


def over_ranks(values: Tensor) -> Tensor:
    """Of all ranks, with its gradient; they must hold equally many images."""
    size = torch.distributed.get_world_size()
    summed: Tensor = differentiable.all_reduce(values)  # type: ignore[no-untyped-call]
    return summed / size


def aggregated(mean: Tensor, log_variance: Tensor, shared: Shared = own) -> tuple[Tensor, Tensor]:
    """m [D] and S [D, D] from the posteriors of a batch, [B, D] each."""
    width = mean.shape[1]
    second = mean.T @ mean / len(mean) + torch.diag(log_variance.exp().mean(dim=0))
    both = shared(torch.cat([mean.mean(dim=0), second.flatten()]))
    m, second = both[:width], both[width:].view(width, width)
    return m, second - torch.outer(m, m)

"""How well paths are predicted: the predictors beside what needs no learning, and what the batch makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from examples.moe.config import VOCABULARY
from examples.moe.inference.path_model import PathModel
from examples.moe.inference.predictor import counted
from examples.moe.inference.trace import Trace


@dataclass(frozen=True)
class Overlap:
    """Experts predicted for a batch against those it needs, summed over layers and steps."""

    recall: float  # of what is needed; the paper's accuracy, when it is averaged over layers
    precision: float  # of what is predicted
    loaded_over_needed: float  # predicted experts for each needed one


def top_accuracy(scores: Tensor, paths: Tensor, n: int) -> list[float]:
    """For each layer the share of tokens whose first expert is among the n with the largest scores.

    scores: [N, T, layers, E]; paths: int64 [N, T, layers, k].
    """
    best = scores.topk(n, dim=-1).indices
    found = (best == paths[..., :1]).any(-1).double().mean((0, 1))
    return [float(share) for share in found]


def batch_overlap(scores: Tensor, paths: Tensor, batch: int, n: int) -> Overlap:
    """The n best of every token of a batch against what the batch needs; a batch is `batch` windows at one position."""
    experts = scores.shape[-1]
    windows = len(scores) // batch * batch

    def union(chosen: Tensor) -> Tensor:
        marks = torch.zeros(*chosen.shape[:-1], experts, dtype=torch.bool).scatter_(-1, chosen, True)
        return marks[:windows].view(-1, batch, *marks.shape[1:]).any(1)

    needed, predicted = union(paths), union(scores.topk(n, dim=-1).indices)
    both = int((needed & predicted).sum())
    return Overlap(both / int(needed.sum()), both / int(predicted.sum()), int(predicted.sum()) / int(needed.sum()))


@torch.no_grad()
def all_scores(model: PathModel, profile: Trace, test: Trace) -> dict[str, Tensor]:
    """Scores [N, T, layers, E] of every predictor for the windows of `test`; tables are made from `profile`."""
    c = model.config
    flat_tokens, flat_paths = profile.tokens.flatten(), profile.paths.flatten(0, 1)
    table = counted(flat_tokens, flat_paths, VOCABULARY, c.experts)
    usual = table.sum(0)
    table = table + usual / usual.sum(-1, keepdim=True)
    shape = (*test.tokens.shape, c.layers, c.experts)
    taken = torch.zeros(shape).scatter_(-1, test.paths, 1.0)
    previous_layer = usual.expand(shape).clone()
    for layer in range(1, c.layers):
        links = counted(flat_paths[:, layer - 1, 0], flat_paths[:, layer : layer + 1], c.experts, c.experts)
        previous_layer[:, :, layer] = links[test.paths[:, :, layer - 1, 0], 0]
    ranks = torch.arange(test.pregate.shape[-1], 0, -1, dtype=torch.float32)
    return {
        "most used": usual.expand(shape),
        "previous token": functional.pad(taken[:, :-1], (0, 0, 0, 0, 1, 0)),
        "previous layer": previous_layer,
        "pre-gate": torch.zeros(shape).scatter_(-1, test.pregate, ranks.expand(test.pregate.shape)),
        "token table": table[test.tokens],
        "transformer": functional.softmax(model(test.tokens), -1),
    }

"""A mixture of experts as a layer: router, experts, dropless dispatch, balancing loss."""

from __future__ import annotations

from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.moe.config import ModelConfig


@final
class Routing(NamedTuple):
    """Where N tokens go."""

    chosen: Tensor  # int64 [N, k], the most probable expert first
    gates: Tensor  # float32 [N, k], what each expert's output is multiplied with
    balance: Tensor  # float32 [], E · Σ_e f_e P_e; 1 where all experts are used alike


def choose(logits: Tensor, chosen: int) -> tuple[Tensor, Tensor, Tensor]:
    """Experts, gates and probabilities from router logits [N, E].

    k = 1 (Switch, arXiv 2101.03961): the gate is the expert's probability, so that the router learns from the loss.
    k = 2 (GShard, arXiv 2006.16668): the two probabilities, divided by their sum.
    """
    probabilities = functional.softmax(logits, dim=-1)
    gates, experts = probabilities.topk(chosen, dim=-1)
    if chosen > 1:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return experts, gates, probabilities


def balance_loss(probabilities: Tensor, experts: Tensor) -> Tensor:
    """E · Σ_e f_e P_e, f_e: share of assignments, P_e: mean probability of expert e (arXiv 2101.03961)."""
    count = probabilities.shape[1]
    share = torch.bincount(experts.flatten(), minlength=count).to(probabilities.dtype) / experts.numel()
    return count * (share * probabilities.mean(dim=0)).sum()


@final
class Expert(nn.Module):
    """down(relu(up(x))), without biases; relu, because it is exact in any vector width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] to the same."""
        out: Tensor = self.down(functional.relu(self.up(x)))
        return out


@final
class MixtureOfExperts(nn.Module):
    """y = Σ_k gate_k · expert_k(x). No token is dropped, however many go to one expert."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.chosen = config.chosen
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(Expert(config) for _ in range(config.experts))

    def expert(self, number: int) -> Expert:
        """One of the experts."""
        return cast(Expert, self.experts[number])

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """x: [N, width]. An expert that gets no token takes no part in the graph, so its gradient stays None."""
        experts, gates, probabilities = choose(self.router(x), self.chosen)
        order = experts.flatten().argsort(stable=True)  # assignments, those of one expert together
        counts = torch.bincount(experts.flatten(), minlength=len(self.experts)).tolist()
        tokens = order // self.chosen
        outputs = [
            expert(x[rows]) for expert, rows in zip(self.experts, torch.split(tokens, counts), strict=True) if len(rows)
        ]
        weighted = torch.cat(outputs) * gates.flatten()[order, None]
        y = torch.zeros_like(x).index_add(0, tokens, weighted)
        return y, Routing(experts, gates, balance_loss(probabilities, experts))

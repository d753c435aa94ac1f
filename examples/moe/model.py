"""A decoder-only language model over bytes whose feed-forward layers are mixtures of experts."""

from __future__ import annotations

from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.moe.config import VOCABULARY, ModelConfig
from examples.moe.layer import MixtureOfExperts, Routing


@final
class Output(NamedTuple):
    """What the model says of B sequences of T tokens."""

    logits: Tensor  # float32 [B, T, 256], of the next byte
    balance: Tensor  # float32 [], mean over layers
    paths: Tensor  # int64 [B, T, layers, k], the experts each token went to
    pregate: Tensor  # int64 [B, T, layers, 3], what a router says of the state one layer earlier; layer 0 repeats it


@final
class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


@final
class Block(nn.Module):
    """Attention, then the experts, each on a normalised copy and added to the stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.moe_norm = nn.LayerNorm(config.width)
        self.moe = MixtureOfExperts(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing, Tensor]:
        """The stream, the routing, and the router's three best for the state before the attention (pre-gating)."""
        with torch.no_grad():
            early = self.moe.router(self.moe_norm(x)).topk(min(3, len(self.moe.experts)), dim=-1).indices
        x = x + self.attention(self.attention_norm(x))
        mixed, routing = self.moe(self.moe_norm(x).flatten(0, 1))
        return x + mixed.view_as(x), routing, early


@final
class LanguageModel(nn.Module):
    """Bytes to logits of the next byte."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCABULARY, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, VOCABULARY, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and "norm" not in name:
                nn.init.normal_(parameter, std=0.02 if "tokens" in name or "positions" in name else
                                parameter.shape[1] ** -0.5)  # fmt: skip

    def block(self, layer: int) -> Block:
        """One of the layers."""
        return cast(Block, self.blocks[layer])

    def forward(self, tokens: Tensor) -> Output:
        """tokens: int64 [B, T], T at most the context."""
        batch, length = tokens.shape
        x = self.tokens(tokens) + self.positions.weight[:length]
        balance, paths, pregate = [], [], []
        for block in self.blocks:
            x, routing, early = block(x)
            balance.append(routing.balance)
            paths.append(routing.chosen.view(batch, length, -1))
            pregate.append(early)
        return Output(
            self.head(self.norm(x)), torch.stack(balance).mean(), torch.stack(paths, 2), torch.stack(pregate, 2)
        )

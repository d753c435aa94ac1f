"""The predictor that is learned: a small causal transformer over bytes that names every layer's experts in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.moe.config import VOCABULARY, ModelConfig
from examples.moe.inference.outlook import Floats
from examples.moe.inference.predictor import Predictor

WIDTH = 64
HEADS = 4
LAYERS = 2


@final
class PathLayer(nn.Module):
    """Attention and feed-forward, each on a normalised copy and added."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, mix: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """x: [B, T, WIDTH]; mix: attention over query, key and value [B, HEADS, T, WIDTH / HEADS]."""
        batch, length, _ = x.shape
        query, key, value = self.qkv(self.norms[0](x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(mix(query, key, value).transpose(1, 2).reshape(batch, length, WIDTH))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norms[1](x))))
        return out


@final
class PathModel(nn.Module):
    """Bytes to logits over the experts of every layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(config.context, WIDTH)
        self.layers = nn.ModuleList(PathLayer() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, config.layers * config.experts)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [B, T] to logits [B, T, layers, experts]; position t sees the bytes up to t alone."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, causal)
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """From the stream [B, T, WIDTH]."""
        out: Tensor = self.head(x).unflatten(-1, (self.config.layers, self.config.experts))
        return out


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention."""
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def path_loss(logits: Tensor, paths: Tensor) -> Tensor:
    """Mean cross-entropy per layer against the k experts taken, each with the share 1/k.

    The paper takes the binary cross-entropy of every expert; a softmax keeps the sum of the probabilities at k.
    logits: [..., layers, experts]; paths: int64 [..., layers, k].
    """
    return -functional.log_softmax(logits, -1).gather(-1, paths).mean()


@final
class LearnedPaths(Predictor):
    """The path model, one token at a time: keys and values of earlier tokens are kept."""

    name = "transformer"

    def __init__(self, model: PathModel) -> None:
        self._model = model.eval()
        self._kept = torch.zeros(0)

    def reset(self, sequences: int) -> None:
        c = self._model.config
        self._kept = torch.zeros(2, LAYERS, sequences, HEADS, c.context, WIDTH // HEADS)

    @torch.no_grad()
    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        model, c = self._model, self._model.config
        row, position = torch.tensor(rows), torch.tensor(positions)
        longest = int(position.max()) + 1
        seen = (torch.arange(longest) <= position[:, None])[:, None, None]  # [n, 1, 1, longest]
        x = (model.tokens(torch.tensor(tokens)) + model.positions(position))[:, None]
        for number, layer in enumerate(model.layers):
            keys, values = self._kept[0, number], self._kept[1, number]

            def mix(query: Tensor, key: Tensor, value: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                keys[row, :, position] = key[:, :, 0]
                values[row, :, position] = value[:, :, 0]
                past = keys[row, :, :longest], values[row, :, :longest]
                return functional.scaled_dot_product_attention(query, *past, attn_mask=seen)

            x = layer(x, mix)
        chosen = functional.softmax(model.logits(x)[:, 0], -1) * c.chosen
        found: Floats = chosen.clamp(max=1.0).double().numpy()
        return found

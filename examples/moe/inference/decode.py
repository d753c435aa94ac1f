"""One token at a time, in blocks of a fixed number of rows, so that a row's result never depends on its company.

A matrix product of few rows takes other instructions than one of many, and differs in the last bit. Here every product
has exactly ROWS rows, padded with zeros, and every sequence attends by itself over its own keys. So neither the place
of a sequence in a batch nor the other sequences change what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from examples.moe.inference.layout import matrices
from examples.moe.layer import choose
from examples.moe.model import Block, LanguageModel

ROWS = 8


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x · weightᵀ for any number of rows, in blocks of ROWS. x: [n, in], weight: [out, in]; returns [n, out]."""
    count = len(x)
    padded = functional.pad(x, (0, 0, 0, -count % ROWS))
    return torch.cat([functional.linear(block, weight) for block in torch.split(padded, ROWS)])[:count]


def expert_output(flat: Tensor, model: LanguageModel, x: Tensor) -> Tensor:
    """One expert's output [n, width] from its flat buffer."""
    up, down = matrices(flat, model.config)
    return product(functional.relu(product(x, up)), down)


@final
class KeyValues:
    """Keys and values of all sequences: [layers, sequences, heads, context, width of a head]. Indexed, never copied."""

    def __init__(self, model: LanguageModel, sequences: int) -> None:
        c = model.config
        shape = (c.layers, sequences, c.heads, c.context, c.width // c.heads)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)


def attend(block: Block, layer: int, x: Tensor, rows: Sequence[int], lengths: Sequence[int], kv: KeyValues) -> Tensor:
    """x + attention. Row i of x is the newest token of sequence rows[i], at position lengths[i]; its key is stored."""
    heads = block.attention.heads
    qkv = product(block.attention_norm(x), block.attention.qkv.weight).view(len(x), 3, heads, 1, -1)
    mixed = torch.empty_like(x)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        query, key, value = qkv[i]
        kv.keys[layer, row, :, length] = key[:, 0]
        kv.values[layer, row, :, length] = value[:, 0]
        seen = length + 1
        keys, values = kv.keys[layer, row, :, :seen], kv.values[layer, row, :, :seen]
        weights = functional.softmax(query @ keys.transpose(1, 2) * query.shape[-1] ** -0.5, dim=-1)
        mixed[i] = (weights @ values).flatten()
    return x + product(mixed, block.attention.out.weight)


def route(block: Block, x: Tensor, chosen: int) -> tuple[Tensor, Tensor, Tensor]:
    """The experts' input [n, width], the chosen experts [n, k] and their gates [n, k]."""
    normed = block.moe_norm(x)
    experts, gates, _ = choose(product(normed, block.moe.router.weight), chosen)
    return normed, experts, gates


def embed(model: LanguageModel, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """The stream before the first layer, [n, width]."""
    out: Tensor = model.tokens(torch.tensor(tokens)) + model.positions.weight[torch.tensor(lengths)]
    return out


def next_logits(model: LanguageModel, x: Tensor) -> Tensor:
    """Logits of the next byte, [n, 256]."""
    return product(model.norm(x), model.head.weight)

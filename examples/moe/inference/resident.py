"""Decoding with every expert in memory: no cache, no link, one sequence after the other. The reference for all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from examples.moe.inference.decode import KeyValues, attend, embed, expert_output, next_logits, route
from examples.moe.model import LanguageModel


@dataclass(frozen=True)
class Decoded:
    """What came out for S sequences."""

    tokens: list[list[int]]  # of every sequence, the prompt first
    logits: list[Tensor]  # of every sequence, float32 [steps, 256]
    paths: list[Tensor]  # of every sequence, int64 [steps, layers, k]


@torch.no_grad()
def decode_resident(model: LanguageModel, experts: Tensor, prompts: Sequence[Sequence[int]], new: int) -> Decoded:
    """Greedy decoding of `new` bytes after each prompt. experts: [layers · experts, values], from `layout.pack`."""
    tokens = [list(prompt) for prompt in prompts]
    logits, paths = [], []
    c = model.config
    kv = KeyValues(model, len(prompts))
    for row, sequence in enumerate(tokens):
        prompt, said, taken = len(sequence), [], []
        for position in range(prompt + new - 1):
            x = embed(model, [sequence[position]], [position])
            path = []
            for layer in range(c.layers):
                block = model.block(layer)
                x = attend(block, layer, x, [row], [position], kv)
                normed, chosen, gates = route(block, x, c.chosen)
                mixed = torch.zeros_like(x)
                for k in range(c.chosen):
                    flat = experts[layer * c.experts + int(chosen[0, k])]
                    mixed = mixed + gates[:, k : k + 1] * expert_output(flat, model, normed)
                x = x + mixed
                path.append(chosen[0])
            said.append(next_logits(model, x)[0])
            taken.append(torch.stack(path))
            if position + 1 >= prompt:
                sequence.append(int(said[-1].argmax()))
        logits.append(torch.stack(said))
        paths.append(torch.stack(taken))
    return Decoded(tokens, logits, paths)

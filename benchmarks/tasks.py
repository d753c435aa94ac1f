"""Small training tasks that stand for larger ones: a ResNet, a byte transformer, an MLP with Adam."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.resnet.data import Digits, load_digits
from examples.resnet.model import BasicBlock

HELD_OUT = 597  # of the 1797 digits: what losses are measured on
NOISE = 0.5  # standard deviation of what is added to the digits' pixels, which have 1: later steps stay worth while
WIDTHS = (16, 32, 64, 128)  # channels of the ResNet's stages: a quarter of a ResNet-18's
CONTEXT, VOCABULARY, EMBEDDING, HEADS, BLOCKS = 48, 128, 128, 4, 2  # of the transformer, on ASCII text


@final
@dataclass(frozen=True)
class Task:
    """What is trained. The rate is the one that is good without compression."""

    name: str
    make: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]  # endless, by seed
    held_out: Callable[[], tuple[Tensor, Tensor]]
    steps: int  # of the uncompressed run that sets the targets


def _digits() -> tuple[Digits, Tensor, Tensor]:
    digits = load_digits(8)
    order = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(0))
    return digits, order[:-HELD_OUT], order[-HELD_OUT:]


_digits_once = cache(_digits)


def _digit_batches(seed: int, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    digits, train, _ = _digits_once()
    generator = torch.Generator().manual_seed(seed)
    while True:
        index = train[torch.randint(len(train), (size,), generator=generator)]
        images = digits.images[index]
        yield images + NOISE * torch.randn(images.shape, generator=generator), digits.labels[index]


def _held_out_digits() -> tuple[Tensor, Tensor]:
    digits, _, held_out = _digits_once()
    noise = torch.randn(digits.images[held_out].shape, generator=torch.Generator().manual_seed(1))
    return digits.images[held_out] + NOISE * noise, digits.labels[held_out]


def _classify(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels)


def _resnet() -> nn.Module:
    blocks: list[nn.Module] = [nn.Conv2d(1, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
    before = WIDTHS[0]
    for i, width in enumerate(WIDTHS):
        blocks += [BasicBlock(before, width, 2 if i else 1), BasicBlock(width, width, 1)]
        before = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


@final
class Scaled(nn.Module):
    """A linear layer y = s V x: the gradient of V is s times that of W = s V."""

    def __init__(self, layer: nn.Linear, scale: float) -> None:
        super().__init__()
        self._scale = scale
        self.linear = layer
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.div_(scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) * self._scale
        return y


def _mlp() -> nn.Sequential:
    sizes = (64, 1024, 1024, 1024, 10)
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *[layer for pair in pairs for layer in pair][:-1])


def _quiet_mlp() -> nn.Sequential:
    """The same, with a gradient of the second layer that is 0.03 of what it would be."""
    model = _mlp()
    second = model[3]
    if isinstance(second, nn.Linear):
        model[3] = Scaled(second, 0.03)
    return model


@final
class Transformer(nn.Module):
    """Decoder-only, on bytes of ASCII."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, EMBEDDING)
        self.places = nn.Embedding(CONTEXT, EMBEDDING)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(EMBEDDING, HEADS, 4 * EMBEDDING, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(BLOCKS)
        )
        self.norm = nn.LayerNorm(EMBEDDING)
        self.head = nn.Linear(EMBEDDING, VOCABULARY)

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.tokens(text) + self.places(torch.arange(text.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1])
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask, is_causal=True)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


@cache
def _text() -> Tensor:
    """Sources of the standard library, a megabyte of them."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = b"".join(path.read_bytes() for path in files)[: 1 << 20]
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).clamp(max=VOCABULARY - 1).to(torch.int64)


def _text_batches(seed: int, size: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    text, generator = _text()[: -(1 << 16)], torch.Generator().manual_seed(seed)
    while True:
        yield _windows(text, torch.randint(len(text) - CONTEXT - 1, (size,), generator=generator))


def _windows(text: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    cut = torch.stack([text[start : start + CONTEXT + 1] for start in starts.tolist()])
    return cut[:, :-1], cut[:, 1:]


def _held_out_text() -> tuple[Tensor, Tensor]:
    text = _text()[-(1 << 16) :]
    return _windows(text, torch.arange(0, len(text) - CONTEXT - 1, 1021))


def _next_byte(model: nn.Module, text: Tensor, after: Tensor) -> Tensor:
    return functional.cross_entropy(model(text).flatten(0, 1), after.flatten())


TASKS = {
    task.name: task
    for task in (
        Task("mlp", _mlp, lambda m: torch.optim.Adam(m.parameters(), 2e-4), _classify, _digit_batches,
             _held_out_digits, 300),
        Task("quiet mlp", _quiet_mlp, lambda m: torch.optim.Adam(m.parameters(), 2e-4), _classify, _digit_batches,
             _held_out_digits, 300),
        Task("resnet", _resnet, lambda m: torch.optim.SGD(m.parameters(), 0.01, momentum=0.9), _classify,
             _digit_batches, _held_out_digits, 150),
        Task("transformer", Transformer, lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9), _next_byte,
             _text_batches, _held_out_text, 200),
    )
}  # fmt: skip

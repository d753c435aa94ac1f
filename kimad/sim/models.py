"""Models that are known by name: their layers, and made-up times and gradients with the shape of real ones.

Backward takes two thirds of the computing, each layer its share of the floating-point operations; buckets are packed
as DDP packs them. Gradients follow what was measured on a ResNet-18 at its steps 5, 30 and 60, with 32 images a worker:

    entry = exp(0.35 a) b,  a and b standard normal, a the same in all steps        within a layer
    norm of a layer = side of its kernel, 0.03 for vectors, x exp(0.3 c)            between layers

so that the largest 1 % of a layer has about 14 % of its energy (measured: 11 to 16 %) and the largest 10 % about 53 %
(49 to 57 %). Nearly all of it changes from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.layout import Layer
from kimad.sim.errors import SimulationError
from kimad.sim.workload import Workload

Floats = NDArray[np.float64]

FIRST_BUCKET_BYTES, BUCKET_BYTES = 1 << 20, 25 << 20  # DDP's defaults
STEPS, SNAPSHOTS, SAMPLES = 16, 8, 256
FORWARD_SHARE = 1 / 3  # of the computing of a step
STEADY_SHARE = 0.02  # of a gradient's energy that is the same in successive steps; measured 1 to 3 %
ENTRY_SPREAD, LAYER_SPREAD = 0.35, 0.3  # standard deviations of the logarithm of sizes
VECTOR_NORM = 0.03  # of biases and norms, where a matrix has 1


@final
@dataclass(frozen=True)
class Part:
    """One parameter of a model."""

    name: str
    shape: tuple[int, ...]
    uses: float  # multiplications with each entry for one input: positions, or tokens; none where one is looked up
    rare: float = 0.0  # probability that its gradient is exactly zero in a step
    tied_uses: float = 0.0  # the same for a second place at the model's end, where it is used too


@final
@dataclass(frozen=True)
class Model:
    """A model by its parts, in the order of its forward pass."""

    parts: tuple[Part, ...]
    compute_s: float  # s of computing a step, where none is given

    def workload(self, name: str, compute_s: float | None = None, spread: float = 0.05, seed: int = 0) -> Workload:
        """A workload; `spread` is the standard deviation of the computing time's logarithm.

        Raises SimulationError for a time or spread that is not allowed.
        """
        seconds = self.compute_s if compute_s is None else compute_s
        if not 0 < seconds < 1e6 or not 0 <= spread <= 2:
            raise SimulationError(f"compute is {seconds:g} s, spread {spread:g}; allowed: above 0 s, and 0 to 2")
        random = np.random.default_rng([seed, 7])
        layers = tuple(Layer(part.name, part.shape) for part in self.parts)
        buckets = pack_buckets(layers)
        ends = self._backward_ends()[[bucket[-1] for bucket in buckets]]
        ready = seconds * (FORWARD_SHARE + (1 - FORWARD_SHARE) * ends)
        jitter = np.exp(spread * random.standard_normal((STEPS, 1, 1)))
        gradients = tuple(_gradient(part, random) for part in self.parts)
        return Workload(name, layers, buckets, ready[None, None, :] * jitter, gradients, note="made up")

    def _backward_ends(self) -> Floats:
        """(L,) share of the backward pass that is over when each layer's gradient is there.

        Backward starts at the model's end: a layer that is tied to it works there too, but is ready at its first place.
        """
        numel = np.array([float(np.prod(part.shape)) for part in self.parts])
        work = numel * [part.uses for part in self.parts]
        at_the_end = float(np.dot(numel, [part.tied_uses for part in self.parts]))
        behind: Floats = (at_the_end + np.cumsum(work[::-1])[::-1]) / (at_the_end + work.sum())
        return behind


def pack_buckets(layers: Sequence[Layer]) -> tuple[tuple[int, ...], ...]:
    """Layer numbers by bucket, last layers first: a bucket is full once it has reached its limit."""
    buckets: list[tuple[int, ...]] = []
    current: list[int] = []
    size, limit = 0, FIRST_BUCKET_BYTES
    for i in range(len(layers) - 1, -1, -1):
        current.append(i)
        size += layers[i].nbytes
        if size >= limit:
            buckets.append(tuple(current))
            current, size, limit = [], 0, BUCKET_BYTES
    return tuple([*buckets, tuple(current)] if current else buckets)


def _gradient(part: Part, random: np.random.Generator) -> NDArray[np.float32]:
    """(snapshots, samples) of one layer."""
    n = int(np.prod(part.shape))
    count = min(SAMPLES, n)
    norm = math.sqrt(np.prod(part.shape[2:])) if len(part.shape) > 1 else VECTOR_NORM  # side of a square kernel, or 1
    norm *= math.exp(LAYER_SPREAD * random.standard_normal() - ENTRY_SPREAD**2)  # E exp(2 s a) = exp(2 s^2)
    sizes = np.exp(ENTRY_SPREAD * random.standard_normal(count)) * (norm / math.sqrt(n))
    steady, noise = random.standard_normal(count), random.standard_normal((SNAPSHOTS, count))
    values = sizes * (math.sqrt(STEADY_SHARE) * steady + math.sqrt(1 - STEADY_SHARE) * noise)
    if part.rare:
        values *= random.random((SNAPSHOTS, 1)) >= part.rare
    gradient: NDArray[np.float32] = values.astype(np.float32)
    return gradient


def _resnet18() -> Model:
    """For small pictures, 12 x 12 pixels and ten classes, as in examples/resnet; 11.17 M parameters."""
    parts: list[Part] = []
    size = 12
    _convolution(parts, "stem.0", "stem.1", 64, 3, 3, size)
    before = 64
    for block, width in enumerate(width for width in (64, 128, 256, 512) for _ in "ab"):
        name = f"stages.{block}"
        size = size if before == width else -(-size // 2)
        _convolution(parts, f"{name}.conv1", f"{name}.norm1", width, before, 3, size)
        _convolution(parts, f"{name}.conv2", f"{name}.norm2", width, width, 3, size)
        if before != width:
            _convolution(parts, f"{name}.shortcut.0", f"{name}.shortcut.1", width, before, 1, size)
        before = width
    parts += [Part("head.weight", (10, 512), 1), Part("head.bias", (10,), 1)]
    return Model(tuple(parts), compute_s=0.1)


def _resnet50() -> Model:
    """For ImageNet, 224 x 224; 25.56 M parameters, names as in torchvision."""
    parts: list[Part] = []
    _convolution(parts, "conv1", "bn1", 64, 3, 7, 112)
    before, size = 64, 56
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            _convolution(parts, f"{name}.conv1", f"{name}.bn1", width, before, 1, size)
            size //= stride
            _convolution(parts, f"{name}.conv2", f"{name}.bn2", width, width, 3, size)
            _convolution(parts, f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1, size)
            if block == 0:
                _convolution(parts, f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, before, 1, size)
            before = 4 * width
    parts += [Part("fc.weight", (1000, 2048), 1), Part("fc.bias", (1000,), 1)]
    return Model(tuple(parts), compute_s=0.35)


def _convolution(parts: list[Part], name: str, norm: str, out: int, before: int, kernel: int, size: int) -> None:
    """A convolution without bias, and the batch norm behind it."""
    positions = float(size * size)
    parts.append(Part(f"{name}.weight", (out, before, kernel, kernel), positions))
    parts += [Part(f"{norm}.weight", (out,), positions), Part(f"{norm}.bias", (out,), positions)]


def _gpt2() -> Model:
    """GPT-2 small: 12 blocks, width 768, 1024 tokens; 124 M parameters, the output tied to the embedding."""
    tokens = 1024.0
    parts = [Part("wte.weight", (50257, 768), 0.0, tied_uses=tokens), Part("wpe.weight", (1024, 768), 0.0)]
    for block in range(12):
        parts += _attention(f"h.{block}", 768, tokens)
        parts += _linear(f"h.{block}.mlp.c_fc", 768, 3072, tokens) + _linear(f"h.{block}.mlp.c_proj", 3072, 768, tokens)
    parts += [Part("ln_f.weight", (768,), tokens), Part("ln_f.bias", (768,), tokens)]
    return Model(tuple(parts), compute_s=0.5)


def _moe_small() -> Model:
    """A switch mixture of experts over bytes (one expert a token): 512 tokens, 6 blocks of width 256 with 8 experts of
    width 1024; 27 M parameters."""
    tokens, experts = 512.0, 8
    parts = [Part("embedding.weight", (256, 256), 0.0)]
    for block in range(6):
        parts += _attention(f"blocks.{block}", 256, tokens)
        parts.append(Part(f"blocks.{block}.router.weight", (experts, 256), tokens))
        for expert in range(experts):
            name, rare = f"blocks.{block}.experts.{expert}", 0.05 * expert  # the last ones are seldom asked
            inner = _linear(f"{name}.up", 256, 1024, tokens / experts)
            inner += _linear(f"{name}.down", 1024, 256, tokens / experts)
            parts += [replace(part, rare=rare) for part in inner]
    parts += [Part(name, (256,), tokens) for name in ("norm.weight", "norm.bias")]
    parts.append(Part("head.weight", (256, 256), tokens))
    return Model(tuple(parts), compute_s=0.2)


def _attention(name: str, width: int, tokens: float) -> list[Part]:
    """Two layer norms around queries, keys and values in one, and the projection behind them."""
    norms = [Part(f"{name}.ln_{i}.{kind}", (width,), tokens) for i in (1, 2) for kind in ("weight", "bias")]
    inner = _linear(f"{name}.attn.c_attn", width, 3 * width, tokens)
    return norms[:2] + inner + _linear(f"{name}.attn.c_proj", width, width, tokens) + norms[2:]


def _linear(name: str, before: int, after: int, tokens: float) -> list[Part]:
    """A matrix and its bias."""
    return [Part(f"{name}.weight", (before, after), tokens), Part(f"{name}.bias", (after,), tokens)]


MODELS: dict[str, Callable[[], Model]] = {
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "gpt2": _gpt2,
    "moe-small": _moe_small,
}

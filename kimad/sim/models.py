"""Models that are known by name: their layers, and made-up times and gradients with the shape of real ones.

Backward takes two thirds of the computing, each layer its share of the floating-point operations; buckets are packed
as DDP packs them. Gradients are heavy-tailed: Student's t with 3 degrees of freedom, rows of different size, and a part
that stays the same from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
STEADY_SHARE = 0.3  # of a gradient's size that is the same in successive steps


@final
@dataclass(frozen=True)
class Part:
    """One parameter of a model."""

    name: str
    shape: tuple[int, ...]
    uses: float  # times that each entry is used for one input: positions of a convolution, tokens of a sequence
    rare: float = 0.0  # probability that its gradient is exactly zero in a step


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
        """(L,) share of the backward pass that is over when each layer's gradient is there."""
        work = np.array([float(np.prod(part.shape)) * part.uses for part in self.parts])
        behind: Floats = np.cumsum(work[::-1])[::-1] / work.sum()
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
    n = int(np.prod(part.shape))
    count = min(SAMPLES, n)
    fan_in = max(1, n // part.shape[0])
    sizes = random.lognormal(0.0, 1.0, count) / np.sqrt(fan_in)
    steady = random.standard_t(3, count)
    noise = random.standard_t(3, (SNAPSHOTS, count))
    values = sizes * (STEADY_SHARE * steady + (1 - STEADY_SHARE) * noise)
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
    parts = [Part("wte.weight", (50257, 768), 1024.0), Part("wpe.weight", (1024, 768), 1.0)]
    for block in range(12):
        parts += _attention(f"h.{block}", 768)
        parts += _linear(f"h.{block}.mlp.c_fc", 768, 3072) + _linear(f"h.{block}.mlp.c_proj", 3072, 768)
    parts += [Part("ln_f.weight", (768,), 1024.0), Part("ln_f.bias", (768,), 1024.0)]
    return Model(tuple(parts), compute_s=0.5)


def _moe_small() -> Model:
    """A switch mixture of experts over bytes: 6 blocks of width 256, 8 experts of width 1024; 27 M parameters."""
    parts = [Part("embedding.weight", (256, 256), 512.0)]
    for block in range(6):
        parts += _attention(f"blocks.{block}", 256)
        parts.append(Part(f"blocks.{block}.router.weight", (8, 256), 512.0))
        for expert in range(8):
            name, rare = f"blocks.{block}.experts.{expert}", 0.05 * expert  # the last ones are seldom asked
            for part in _linear(f"{name}.up", 256, 1024) + _linear(f"{name}.down", 1024, 256):
                parts.append(Part(part.name, part.shape, 64.0, rare))
    parts += [Part(name, (256,), 512.0) for name in ("norm.weight", "norm.bias")]
    parts.append(Part("head.weight", (256, 256), 512.0))
    return Model(tuple(parts), compute_s=0.2)


def _attention(name: str, width: int) -> list[Part]:
    norms = [Part(f"{name}.ln_{i}.{kind}", (width,), 1024.0) for i in (1, 2) for kind in ("weight", "bias")]
    inner = _linear(f"{name}.attn.c_attn", width, 3 * width) + _linear(f"{name}.attn.c_proj", width, width)
    return norms[:2] + inner + norms[2:]


def _linear(name: str, before: int, after: int) -> list[Part]:
    return [Part(f"{name}.weight", (before, after), 1024.0), Part(f"{name}.bias", (after,), 1024.0)]


MODELS: dict[str, Callable[[], Model]] = {
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "gpt2": _gpt2,
    "moe-small": _moe_small,
}

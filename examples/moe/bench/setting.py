"""What is measured: a trained model, its predictor, and text that neither has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from examples.moe.bench.costs import measure
from examples.moe.checkpoint import load_model
from examples.moe.inference.engine import Costs
from examples.moe.inference.folder import MODEL, load_paths
from examples.moe.inference.layout import Key, Manifest, pack
from examples.moe.inference.path_model import PathModel
from examples.moe.inference.resident import Decoded, decode_resident
from examples.moe.inference.trace import Trace, collect
from examples.moe.model import LanguageModel
from examples.moe.text import Text

PROFILE_WINDOWS, TEST_WINDOWS = 256, 64


@dataclass(frozen=True)
class Sizes:
    """How much is decoded."""

    batch: int = 8  # sequences of one batch; two are decoded in turn
    prompt: int = 16  # bytes of held-out text
    new: int = 24  # bytes after it
    seeds: tuple[int, ...] = (0, 1, 2)  # each has other prompts


@dataclass(frozen=True)
class Setting:
    """A model with all that is known of it. Decoding uses prompts of the held-out text alone."""

    model: LanguageModel
    manifest: Manifest
    experts: Tensor
    paths: PathModel
    text: Text
    profile: Trace  # of training text
    test: Trace  # of held-out text
    costs: Costs
    sizes: Sizes

    @classmethod
    def load(cls, folder: Path, text: Text, sizes: Sizes) -> Setting:
        """Raises MoeError where the folder holds no trained model."""
        model, paths = load_model(folder / MODEL), load_paths(folder)
        manifest, experts = pack(model)
        length = model.config.context
        every = max(1, (len(text.train) - length - 1) // PROFILE_WINDOWS)
        profile = text.train.unfold(0, length, every)[:PROFILE_WINDOWS].long()
        test = text.held_out(TEST_WINDOWS, length)[:, :-1]
        taken = collect(model, test)
        c, newest = model.config, taken.paths[: 2 * sizes.batch, -1]
        routes = torch.zeros(len(newest), c.layers, c.experts, dtype=torch.bool).scatter_(-1, newest, True)
        costs = measure(model, experts, paths, routes.flatten(1).numpy())
        return cls(model, manifest, experts, paths, text, collect(model, profile), taken, costs, sizes)

    @property
    def all_slots(self) -> int:
        """Experts of all layers."""
        return len(self.manifest.checksums)

    def usage(self) -> dict[Key, float]:
        """How often each expert was used in the profile."""
        found: dict[Key, float] = {}
        for layer in range(self.model.config.layers):
            counts = self.profile.paths[:, :, layer].flatten().bincount(minlength=self.model.config.experts)
            found |= {(layer, expert): float(count) for expert, count in enumerate(counts.tolist())}
        return found

    def prompts(self, seed: int, count: int) -> list[list[int]]:
        """So many beginnings of held-out text."""
        found: list[list[int]] = self.text.held_out(count, self.sizes.prompt, offset=997 * seed)[:, :-1].tolist()
        return found

    def reference(self, prompts: Sequence[Sequence[int]]) -> Decoded:
        """The same with every expert in memory."""
        return decode_resident(self.model, self.experts, prompts, self.sizes.new)

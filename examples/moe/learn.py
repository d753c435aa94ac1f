"""Train the model and its predictor in this process, and write all that decoding needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from examples.moe import train
from examples.moe.checkpoint import load_model
from examples.moe.inference.folder import MODEL, export, save_paths
from examples.moe.inference.train_paths import train_paths
from examples.moe.text import Text, read_text


def learn(folder: Path, options: Sequence[str], predictor_steps: int, progress: Callable[[str], None]) -> None:
    """Run `train.py` with these options as a group of one, then train the predictor on the paths of the same text.

    Raises:
        MoeError: an option that cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parsed = train.parse_arguments([*options, "--save", str(folder / MODEL)])

    def report(line: dict[str, float]) -> None:
        held_out = f", held out {line['validation']:.3f}" if "validation" in line else ""
        progress(f"model: step {line['step']:.0f} of {parsed.steps}, {line['loss']:.3f} nats a byte{held_out}")

    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        train.train(parsed, report)
    finally:
        dist.destroy_process_group()
    model = load_model(folder / MODEL)
    export(folder, model)
    text = Text(read_text(parsed.text))
    torch.manual_seed(parsed.seed)
    save_paths(folder, train_paths(model, text, predictor_steps, parsed.seed, lambda step, loss: progress(
        f"predictor: step {step} of {predictor_steps}, {loss:.3f} nats a layer"
    )))  # fmt: skip

"""Train the predictor on the paths of the training text."""

from __future__ import annotations

from collections.abc import Callable

import torch

from examples.moe.inference.path_model import PathModel, path_loss
from examples.moe.inference.trace import collect
from examples.moe.model import LanguageModel
from examples.moe.text import Text

BATCH = 16  # windows
LEARNING_RATE = 4e-3


def train_paths(
    model: LanguageModel, text: Text, steps: int, seed: int, report: Callable[[int, float], None]
) -> PathModel:
    """Every step sees windows that were not seen before. report: called with the step and its loss, in nats."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    paths = PathModel(model.config)
    optimizer = torch.optim.AdamW(paths.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for step in range(1, steps + 1):
        trace = collect(model, text.draw(generator, BATCH, model.config.context)[:, :-1])
        optimizer.zero_grad()
        loss = path_loss(paths(trace.tokens), trace.paths)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        report(step, loss.item())
    return paths.eval()

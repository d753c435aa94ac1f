"""Tables, and the figures behind them as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from examples.metrics.features import Features
from examples.vgrow.compare import Result
from examples.vgrow.evaluate import MOST_POINTS, plane_scores
from examples.vgrow.target import Target

TITLES = {
    "modes": "modes", "near": "near a mode", "least_share": "least share", "w2": "W2", "frechet": "Fréchet",
    "nearest": "to training image",
}  # fmt: skip


def table(target: Target, results: Sequence[Result], features: Features | None) -> str:
    """One target's results for people."""
    names = list(results[0].scores)
    text = [f"{'method':<24}" + "".join(f"{TITLES[name]:>18}" for name in names) + f"{'CPU s':>8}"]
    for result in results:
        cells = "".join(f"{_shown(name, result.scores[name]):>18}" for name in names)
        text.append(f"{result.method:<24}{cells}{result.cpu_s:>8.1f}")
    if features is not None:
        accuracy = "" if features.accuracy is None else f", test accuracy {features.accuracy:.3f}"
        text.append(
            f"Fréchet distance on features of the {features.name}{accuracy}: training images {features.floor:.2f}, "
            f"uniform noise {features.noise:.0f}"
        )
    elif target.modes is not None:
        text.append(f"{len(target.modes)} modes; W2 of training to held-out points {floor(target):.3f}")
    return "\n".join(text)


def floor(target: Target) -> float:
    """W2 of training points, drawn as a perfect generator would draw them, to held-out ones: modes by chance."""
    rows = torch.randint(len(target.train), (MOST_POINTS,), generator=torch.Generator().manual_seed(1))
    return plane_scores(target, target.train[rows])["w2"]


def _shown(name: str, value: float) -> str:
    return f"{value:.0f}" if name == "modes" else f"{value:.3f}" if name != "frechet" else f"{value:.1f}"


def as_json(seed: int, results: Sequence[Result], features: Mapping[str, Features]) -> str:
    """The summary's text."""
    rows: list[dict[str, Any]] = [
        {"target": r.target, "method": r.method, "cpu_s": r.cpu_s, **r.scores} for r in results
    ]
    floors = {name: {"floor": f.floor, "noise": f.noise, "accuracy": f.accuracy} for name, f in features.items()}
    return json.dumps({"seed": seed, "rows": rows, "features": floors}, indent=1) + "\n"

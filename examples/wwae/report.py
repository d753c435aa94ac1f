"""The table, and the figures behind it as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from examples.metrics.features import Features
from examples.wwae.compare import Trained, best


def rows(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """One a model. chosen: whether it is the best of its kind on validation images."""
    chosen = {id(best(trained, one.method.kind)) for one in trained}
    return [
        {
            "method": one.method.kind,
            "weight": one.method.weight,
            "chosen": id(one) in chosen,
            "cpu_s": one.cpu_s,
            "test": asdict(one.test),
            "validation": asdict(one.validation),
        }
        for one in trained
    ]


def table(trained: Sequence[Trained], features: Features, floor_w2: float) -> str:
    """For people; of every kind the chosen weight is marked."""
    text = [
        f"{'method':<20}{'latent W2²':>11}{'reconstruction':>16}{'FD samples':>12}{'FD reconstr.':>14}{'CPU s':>7}",
        *(_line(one, "*" if one is best(trained, one.method.kind) else "") for one in trained),
        f"{'sampling alone':<20}{floor_w2:>11.3f}{0:>16.2f}{features.floor:>12.2f}{features.floor:>14.2f}",
        f"{'uniform noise':<20}{'':>11}{'':>16}{features.noise:>12.1f}",
    ]
    accuracy = "" if features.accuracy is None else f", test accuracy {features.accuracy:.3f}"
    text.append(f"* chosen on validation images; FD: Fréchet distance on features of the {features.name}{accuracy}")
    return "\n".join(text)


def _line(one: Trained, mark: str) -> str:
    test = one.test
    return (
        f"{f'{one.method} {mark}':<20}{test.latent_w2_squared:>11.3f}{test.reconstruction:>16.2f}{test.samples:>12.1f}"
        f"{test.reconstructions:>14.1f}{one.cpu_s:>7.1f}"
    )


def as_json(summary: dict[str, Any]) -> str:
    """The summary's text."""
    return json.dumps(summary, indent=1) + "\n"

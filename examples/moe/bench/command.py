"""All measurements of one trained model, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.moe.bench.setting import Setting, Sizes
from examples.moe.bench.show import DECODING, HITS, PREDICTION, SCHEDULING, grid
from examples.moe.bench.tables import Progress, decoding, held_out_loss, hits, prediction, scheduling
from examples.moe.text import Text

QUICK = Sizes(batch=2, prompt=4, new=6, seeds=(0,))
SHARES = (0.10, 0.25, 0.50)  # of all experts, in fast memory
COMPARED_LOADS = (1.0,)  # experts that the link brings while one layer computes
SWEPT_LOADS = (0.25, 1.0, 4.0)
SCHEDULED_LOADS = (1.0,)
COMPARED = (
    ("lru", "none"), ("global-lru", "none"), ("lfu", "none"), ("static", "none"), ("whole-layer", "none"),
    ("predictive", "transformer"), ("values", "transformer"), ("budgeted", "transformer"),
    ("budgeted", "token-table"), ("budgeted", "previous-token"), ("budgeted", "oracle"),
)  # fmt: skip
SWEPT = (("lru", "none"), ("predictive", "transformer"), ("budgeted", "transformer"))
POINT = 0.25  # share at which all policies are compared


def measure(
    folder: Path, text: Text, quick: bool, progress: Progress, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Every table as rows; `save` is called with what there is whenever there is more.

    Raises:
        MoeError: the folder holds no trained model.
    """
    setting = Setting.load(folder, text, QUICK if quick else Sizes())
    shares = (POINT,) if quick else SHARES
    one = (1.0,)
    report: dict[str, Any] = {
        "model": asdict(setting.model.config),
        "costs": asdict(setting.costs),
        "sizes": asdict(setting.sizes),
        "expert_bytes": setting.manifest.expert_bytes,
        "nats_a_byte": held_out_loss(setting),
        "prediction": prediction(setting),
        "hits": hits(setting, shares, (2,) if quick else (1, 4, 8, 16)),
        "swept": [],
    }
    for share in shares:
        report["swept"] += decoding(setting, share, one if quick else SWEPT_LOADS, SWEPT, progress)
        save(report)
    report["scheduling"] = scheduling(setting, POINT, one if quick else SCHEDULED_LOADS, progress)
    save(report)
    report["compared"] = decoding(setting, POINT, one if quick else COMPARED_LOADS, COMPARED, progress)
    save(report)
    return report


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    c, costs = report["model"], report["costs"]
    ms = {name: 1e3 * value for name, value in costs.items() if isinstance(value, float)}
    parts = [
        f"{c['layers']} layers of {c['experts']} experts of {report['expert_bytes']} bytes, top-{c['chosen']}; "
        f"held out {report['nats_a_byte']:.3f} nats a byte; costs "
        f"(processor time, one thread): {ms['dense_s']:.2f} ms a layer, {ms['expert_s']:.3f} ms an expert, "
        f"{ms['predict_s']:.2f} ms a prediction, {1e3 * costs['schedule_s']['swap']:.2f} ms a split by swaps",
        "Prediction, held-out text\n" + grid(report["prediction"], PREDICTION),
        "Hits without loading ahead, two batches in turn, held-out text\n" + grid(report["hits"], HITS),
        "Decoding (oracle: a bound, it knows the paths)\n" + grid(report["compared"], DECODING),
    ]
    parts.append("Decoding over sizes of fast memory and rates of the link\n" + grid(report["swept"], DECODING))
    parts.append("Two batches split anew at every step\n" + grid(report["scheduling"], SCHEDULING))
    return "\n\n".join(parts)


def as_json(report: dict[str, Any]) -> str:
    """The report for programs."""
    return json.dumps(report, indent=1) + "\n"

"""The figures of a run at one moment."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kimad.launch.history import Floats, History
from kimad.launch.report.link import slowest, true_bps
from kimad.launch.report.numbers import split
from kimad.launch.report.reasons import reasons
from kimad.launch.summary import Summary, sum_up
from kimad.launch.top.follow import LATEST
from kimad.record import LayerRecord

_MEAN_OF = 20  # steps
_PARTS = {"compute_s": "compute", "encode_s": "encode", "wire_s": "wire", "decode_s": "decode", "idle_s": "wait"}
_MOST_GROUPS = 12


@final
@dataclass(frozen=True)
class Group:
    """Layers whose names begin alike."""

    name: str
    layers: int
    codecs: dict[str, int]  # layers by codec, most frequent first
    low_density: float  # kept share of the entries, 0 to 1, of the sparsest layer
    high_density: float  # of the densest
    frame_bytes: int  # in the last step; 0 where the records do not say


@final
@dataclass(frozen=True)
class Series:
    """One rate over the latest steps, the newest last; bit/s, NaN where it is not known."""

    truth_bps: Floats  # mean of the slowest emulated link during the step
    sample_bps: Floats  # what the step measured, on the slowest rank
    mean_bps: Floats  # forecast for the next step
    low_bps: Floats  # its low quantile, which is planned on
    delivery_bps: Floats  # at which TCP's peers acknowledged what rank 0 sent


@final
@dataclass(frozen=True)
class Snapshot:
    """Everything that is shown."""

    description: str  # how the run was made
    state: str  # waiting, running, ended or failed
    cause: str | None  # of a failure
    age_s: float | None  # since the last step's end; None without a step
    step: int | None  # number of the last one
    total: Summary | None  # None: no step yet
    step_s: float  # duration of the last step
    mean_step_s: float  # over the latest 20
    predicted_s: float  # of the last step; NaN where nothing was predicted
    parts_s: dict[str, float]  # of a step, means over the latest 20; empty where not measured
    sent_bytes: Floats  # of the latest steps
    dense_bytes: int  # what plain DDP sends in a step
    link: Series
    groups: tuple[Group, ...]
    reason: str | None  # of the last notable decision, with its step

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("ended", "failed")

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON; None where one is not known."""
        last = {f.name: _last(getattr(self.link, f.name)) for f in dataclasses.fields(Series)}
        return {
            "description": self.description,
            "state": self.state,
            "cause": self.cause,
            "age_s": self.age_s,
            "step": self.step,
            "steps": self.total.steps if self.total else 0,
            "seconds": self.total.seconds if self.total else 0.0,
            "verdict": self.total.verdict if self.total else None,
            "step_s": _plain(self.step_s),
            "mean_step_s": _plain(self.mean_step_s),
            "predicted_s": _plain(self.predicted_s),
            "parts_s": self.parts_s,
            "sent_bytes": _last(self.sent_bytes),
            "dense_bytes": self.dense_bytes,
            "total_sent_bytes": self.total.wire_bytes if self.total else 0,
            "total_dense_bytes": self.total.dense_bytes if self.total else 0,
            "compression_factor": self.total.compression_factor if self.total else None,
            "link": last,
            "groups": [dataclasses.asdict(group) for group in self.groups],
            "reason": self.reason,
        }


def snapshot(history: History, now_s: float) -> Snapshot:
    """The figures of a run; `now_s` is the monotonic clock's."""
    latest = dataclasses.replace(history, steps=history.steps[-LATEST:])
    last = history.steps[-1] if history.steps else None
    step_s = latest.measured("step_s")
    found = reasons(latest.steps, most=LATEST)[0]
    ending = history.summary
    cause = ending.get("cause") if ending else None
    failed = bool(cause or (ending and ending.get("exit_code")))
    return Snapshot(
        description=str(history.config.get("description", "started without kimad run or emulate")),
        state=("failed" if failed else "ended") if ending else "running" if last else "waiting",
        cause=str(cause) if cause else f"exit code {ending.get('exit_code')}" if ending and failed else None,
        age_s=max(0.0, now_s - last.time_s) if last else None,
        step=last.step if last else None,
        total=sum_up(history.steps),
        step_s=float(step_s[-1]) if last else math.nan,
        mean_step_s=_mean(step_s[-_MEAN_OF:]),
        predicted_s=float(latest.predicted("step_s")[-1]) if last else math.nan,
        parts_s=_parts(dataclasses.replace(history, steps=history.steps[-_MEAN_OF:])),
        sent_bytes=latest.wire_bytes,
        dense_bytes=last.dense_bytes if last else 0,
        link=Series(
            _truth(latest),
            latest.samples_bps,
            latest.link("mean_bps"),
            latest.link("low_bps"),
            latest.link("delivery_bps"),
        ),
        groups=groups(last.layers) if last else (),
        reason=f"step {found[-1].step}: {found[-1].text}" if found else None,
    )


def groups(layers: Sequence[LayerRecord], most: int = _MOST_GROUPS) -> tuple[Group, ...]:
    """Layers by the beginning of their names, as many parts of it as give no more than `most` groups.

    Where even the first parts give more, those with the fewest bytes are put together under `others`.
    """
    names = [layer.name.split(".") for layer in layers]
    depth = 1
    while depth < max(map(len, names), default=1) and len({tuple(name[: depth + 1]) for name in names}) <= most:
        depth += 1
    found: dict[str, list[LayerRecord]] = {}
    for name, layer in zip(names, layers, strict=True):
        found.setdefault(".".join(name[:depth]), []).append(layer)
    if len(found) > most:
        by_bytes = sorted(found, key=lambda name: -sum(layer.frame_bytes for layer in found[name]))
        kept = set(by_bytes[: most - 1])
        others = [layer for name, group in found.items() if name not in kept for layer in group]
        found = {name: group for name, group in found.items() if name in kept}
        found[f"{len(by_bytes) - len(kept)} others"] = others
    return tuple(_group(name, group) for name, group in found.items())


def _group(name: str, layers: Sequence[LayerRecord]) -> Group:
    densities = [layer.density for layer in layers]
    codecs = dict(Counter(layer.codec for layer in layers).most_common())
    return Group(name, len(layers), codecs, min(densities), max(densities), sum(layer.frame_bytes for layer in layers))


def _parts(history: History) -> dict[str, float]:
    parts = split(history)
    if parts is None:
        return {}
    return {label: float(np.mean(getattr(parts, name))) for name, label in _PARTS.items()}


def _truth(history: History) -> Floats:
    if not history.steps:
        return np.array([])
    begin_s = history.steps[0].time_s - history.steps[0].measured.get("step_s", 0.0)
    # One row before the first step tells the rate with which it began.
    rows = {
        h: rows[max(0, bisect_right(rows, begin_s, key=lambda row: row.monotonic_s) - 1) :]
        for h, rows in history.truth.items()
        if rows
    }
    return true_bps(history, slowest(dataclasses.replace(history, truth=rows)))


def _mean(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _last(values: Floats) -> float | None:
    return _plain(float(values[-1])) if values.size else None

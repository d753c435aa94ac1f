"""A run folder, read into typed steps: what `kimad report` and `kimad top` are made from.

Everything may be missing or cut off: the run may be going on, may have been killed, or may have sent nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kimad.launch.errors import UsageError
from kimad.launch.job import CONFIG_NAME, RECORDS_NAME, SUMMARY_NAME
from kimad.launch.truth import TruthRow, known_start, read_truth
from kimad.record import LayerRecord, LinkRecord, StepRecord

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Loss:
    """One line of the training script's own log."""

    t_s: float  # since t = 0 of the run
    loss: float


@final
@dataclass(frozen=True)
class History:
    """What one model of one run did, as far as it is known."""

    folder: Path
    name: str  # short, for people
    config: dict[str, Any]  # config.json; empty where a script attached Kimad by itself
    summary: dict[str, Any] | None  # summary.json; None: the run is going on, or was killed, or was not ours to end
    steps: tuple[StepRecord, ...]  # of rank 0
    start_s: float  # t = 0 of the run on the monotonic clock
    truth: dict[int, list[TruthRow]] = field(default_factory=dict)  # of the emulated links, by host
    losses: tuple[Loss, ...] = ()
    models: tuple[History, ...] = ()  # further models of the same run, each with its own steps

    @property
    def times_s(self) -> Floats:
        """End of each step, since t = 0."""
        return np.array([s.time_s - self.start_s for s in self.steps])

    def measured(self, name: str) -> Floats:
        """One of `StepRecord.measured`, in seconds; NaN where it was not measured."""
        return np.array([s.measured.get(name, math.nan) for s in self.steps])

    def predicted(self, name: str) -> Floats:
        """One of `StepRecord.predicted`; NaN where nothing was predicted."""
        return np.array([s.predicted.get(name, math.nan) for s in self.steps])

    @property
    def wire_bytes(self) -> Floats:
        """Sent by rank 0 in each step, plan agreement included."""
        return np.array([float(s.wire_bytes + s.control_bytes) for s in self.steps])

    def link(self, name: str) -> Floats:
        """A number of `LinkRecord`, such as `mean_bps`, for each step; NaN where it is not known."""
        return np.array([_known(getattr(s.link, name)) for s in self.steps])

    @property
    def samples_bps(self) -> Floats:
        """The smallest sample of each step over all ranks; NaN where there is none."""
        return np.array([min((x for x in s.link.samples_bps if x is not None), default=math.nan) for s in self.steps])


def read_history(folder: Path) -> History:
    """Read a run folder.

    Raises:
        UsageError: it does not exist, or holds no run.
    """
    if not folder.is_dir():
        raise UsageError(f"run folder {str(folder)!r} does not exist; give what --out of kimad run or emulate was")
    if not (folder / CONFIG_NAME).is_file() and not (folder / RECORDS_NAME).is_file():
        raise UsageError(
            f"{str(folder)!r} holds neither {CONFIG_NAME} nor {RECORDS_NAME}, so it is no run folder; "
            "give what --out of kimad run or emulate, or out= of kimad.attach, was"
        )
    steps = tuple(read_steps(folder / RECORDS_NAME))
    truth = read_truth(folder)
    start_s = start_of(folder, truth, steps)
    main = History(
        folder=folder,
        name=folder.resolve().name,
        config=read_json(folder / CONFIG_NAME) or {},
        summary=read_json(folder / SUMMARY_NAME),
        steps=steps,
        start_s=start_s,
        truth=truth,
        losses=read_losses(folder, start_s),
    )
    further = []
    for path in sorted(folder.glob("model*/"), key=lambda p: (len(p.name), p.name)):
        if (path / RECORDS_NAME).is_file():
            records = tuple(read_steps(path / RECORDS_NAME))
            further.append(replace(main, folder=path, name=f"{main.name}/{path.name}", steps=records, losses=()))
    return replace(main, models=tuple(further))


def read_steps(path: Path) -> Iterator[StepRecord]:
    """The steps of a `records.jsonl`; lines that are no record, such as a last one that was cut off, are left out."""
    if not path.is_file():
        return
    parse = StepParser()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            step = parse(line)
            if step is not None:
                yield step


@final
class StepParser:
    """Makes StepRecords of lines; layers that stay the same from step to step are kept once."""

    def __init__(self) -> None:
        self._layers: dict[LayerRecord, LayerRecord] = {}
        self._last: tuple[LayerRecord, ...] = ()

    def __call__(self, line: str) -> StepRecord | None:
        """The step in a line; None if it is no complete record. Single transfers are left out: a run has many."""
        try:
            fields = json.loads(line, parse_constant=lambda _: None)  # NaN and the infinities: not known
            link = fields.get("link") or {}
            return StepRecord(
                step=int(fields["step"]),
                time_s=float(fields["time_s"]),
                objective=str(fields["objective"]),
                wire_bytes=int(fields["wire_bytes"]),
                control_bytes=int(fields.get("control_bytes", 0)),
                dense_bytes=int(fields["dense_bytes"]),
                void=bool(fields.get("void", False)),
                layers=self._share(fields.get("layers", ())),
                link=LinkRecord(
                    mean_bps=_number(link.get("mean_bps")),
                    low_bps=_number(link.get("low_bps")),
                    spread=_number(link.get("spread")),
                    samples_bps=tuple(map(_number, link.get("samples_bps", ()))),
                    bytes=int(link.get("bytes", 0)),
                    busy_s=float(link.get("busy_s", 0.0)),
                    outage_s=float(link.get("outage_s", 0.0)),
                    delivery_bps=_number(link.get("delivery_bps")),
                    min_rtt_s=_number(link.get("min_rtt_s")),
                    repeated_segments=_count(link.get("repeated_segments")),
                    other_bps=_number(link.get("other_bps")),
                ),
                measured=_numbers(fields["measured"]),
                predicted=_numbers(fields.get("predicted", {})),
                residual_norm=float(fields.get("residual_norm", 0.0)),
                gap=_number(fields.get("gap")),
                why=str(fields.get("why", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    def _share(self, layers: Sequence[dict[str, Any]]) -> tuple[LayerRecord, ...]:
        made = []
        for layer in layers:
            one = LayerRecord(
                str(layer["name"]), str(layer["codec"]), float(layer["density"]), int(layer.get("frame_bytes", 0))
            )
            made.append(self._layers.setdefault(one, one))
        if tuple(made) != self._last:
            self._last = tuple(made)
        return self._last


def read_losses(folder: Path, start_s: float) -> tuple[Loss, ...]:
    """The losses that a training script logged into the run folder, in order of time.

    Read is the first file `*.jsonl`, but the records, whose lines have numbers `loss` and either `monotonic_s` (the
    machine's monotonic clock) or `t_s` (seconds since training started), as examples/resnet writes them.
    """
    for path in sorted(folder.glob("*.jsonl")):
        if path.name == RECORDS_NAME:
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            found = [loss for line in lines if (loss := _loss(line, start_s)) is not None]
        if found:
            return tuple(sorted(found, key=lambda loss: loss.t_s))
    return ()


def _loss(line: str, start_s: float) -> Loss | None:
    try:
        fields = json.loads(line, parse_constant=_refuse)
        if "monotonic_s" in fields:
            return Loss(float(fields["monotonic_s"]) - start_s, float(fields["loss"]))
        return Loss(float(fields["t_s"]), float(fields["loss"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def start_of(folder: Path, truth: dict[int, list[TruthRow]], steps: Sequence[StepRecord]) -> float:
    """t = 0: when the traces started, else when the first step did, as there is then nothing before it to be seen."""
    try:
        known = known_start(folder)
    except ValueError:
        known = None  # being written
    if known is None:
        known = next((rows[0].start_monotonic_s for rows in truth.values() if rows), None)
    if known is not None:
        return known
    return steps[0].time_s - steps[0].measured.get("step_s", 0.0) if steps else 0.0


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return None  # not there, or being written
    return found if isinstance(found, dict) else None


def _numbers(fields: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in fields.items() if value is not None}


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")

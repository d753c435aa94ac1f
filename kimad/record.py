"""The record of a step: the single stream that every sink reads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol, final

from kimad.compressors import compressor, wire_bytes
from kimad.layout import Layer
from kimad.plan import Plan


@final
@dataclass(frozen=True)
class LayerRecord:
    """How one layer went."""

    name: str
    codec: str  # operator, with value code, levels or rank; the type of a layer that is never compressed
    density: float  # kept share of the entries, 1 for dense operators, 0 for dropped layers
    frame_bytes: int = 0  # one copy of its compressed gradient; that of a layer never compressed counts whole


@final
@dataclass(frozen=True)
class LinkRecord:
    """What is known of the link. Rates in bit/s; None while nothing is known."""

    mean_bps: float | None = None  # forecast of the slowest rank
    low_bps: float | None = None  # its low quantile, which is planned on
    spread: float | None = None  # mean relative error of its latest forecasts
    samples_bps: tuple[float | None, ...] = ()  # this step's sample of each rank
    bytes: int = 0  # behind the smallest of these samples
    busy_s: float = 0.0  # seconds of transfers behind it
    transfers: tuple[tuple[int, float, float], ...] = ()  # of this rank: bytes received, start and end (s, monotonic)
    ignored: int = 0  # samples that could not be true, so far; 0 where this rank does not decide
    outage_s: float = 0.0  # s of this step, in which the network moved next to nothing; 0: no outage
    delivery_bps: float | None = None  # at which peers acknowledged what this rank sent, as TCP has it; None: no rate
    min_rtt_s: float | None = None  # s, TCP's smallest round trip of the latest minutes, to the farthest peer
    repeated_segments: int | None = None  # that this rank sent again in this step; None: the system does not say
    other_bps: float | None = None  # of other programs, in the busier direction of the group's interface; None: unknown
    share: float = 1.0  # of the bytes that ranks received while this model's came, those that were this model's


@final
@dataclass(frozen=True)
class StepRecord:
    """One step on one rank."""

    step: int
    time_s: float  # monotonic clock, at the end of the step
    objective: str
    wire_bytes: int  # sent by this rank in frames and all-reduces
    control_bytes: int  # sent by this rank to agree on the plan
    dense_bytes: int  # what plain DDP would have sent
    void: bool  # some rank's gradient was not finite
    layers: tuple[LayerRecord, ...]  # of this rank's own plan
    link: LinkRecord
    measured: dict[str, float]  # seconds: step_s, compute_s, wait_s, encode_s, wire_s, decode_s, solve_s
    predicted: dict[str, float] = field(default_factory=dict)  # seconds; empty where this rank does not decide
    residual_norm: float = 0.0
    gap: float | None = None  # (squared error - dual bound) / dual bound of the plan in force
    why: str = ""  # the plan was taken, in one sentence; empty where this rank does not decide

    def to_json(self) -> dict[str, object]:
        """Plain numbers, texts, lists and dicts."""
        return dataclasses.asdict(self)


class Sink(Protocol):
    """Where StepRecords go."""

    def log(self, record: StepRecord) -> None:
        """Take in a record; called in the executor's thread."""

    def close(self) -> None:
        """No more records follow."""


def layer_records(layers: list[Layer], plan: Plan, rank: int = -1) -> tuple[LayerRecord, ...]:
    """What a rank does with each layer by a plan; -1: one that sends no less than others."""
    out, options = [], plan.of(rank)
    for layer in layers:
        option = options[layer.name]
        operator = compressor(option.operator)
        codec, density = option.operator, 0.0 if option.operator == "drop" else 1.0
        if layer.plain:
            codec = layer.dtype
        elif operator.sparse:
            codec, density = f"{option.operator}:{option.values}", option.k / max(1, layer.numel)
        elif operator.counts:
            codec = str(option)
        frame_bytes = layer.nbytes if layer.plain else wire_bytes(layer.shape, option)
        out.append(LayerRecord(layer.name, codec, density, frame_bytes))
    return tuple(out)

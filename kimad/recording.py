"""From a finished step to its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from kimad.config import Config
from kimad.counters import Counted
from kimad.decide import Decision, Planner
from kimad.layout import Layer
from kimad.observation import Observation
from kimad.plan import Plan
from kimad.record import LinkRecord, StepRecord, layer_records
from kimad.statistics import StepLog


@final
@dataclass(frozen=True)
class Ended:
    """What is known when a step has ended."""

    plan: Plan  # that it had
    explained: Decision  # that made the plan
    seen: Observation
    log: StepLog
    counted: Counted
    outage_s: float
    residual_square: float
    control_bytes: int
    solve_s: float  # that the next plan took


def step_record(config: Config, layers: Sequence[Layer], rank: int, planner: Planner | None, step: Ended) -> StepRecord:
    """The record of a step on one rank; planner: on the rank that decides."""
    log, measured_s = step.log, step.log.end_s - step.log.start_s
    compute_s = log.ready_s[-1]
    return StepRecord(
        step=step.plan.step,
        time_s=log.end_s,
        objective=str(config.objective),
        wire_bytes=log.wire_bytes,
        control_bytes=step.control_bytes,
        dense_bytes=log.dense_bytes,
        void=step.seen.everyone.void,
        layers=layer_records(list(layers), step.plan, rank),
        link=link_record(planner, step),
        measured={
            "step_s": measured_s,
            "compute_s": compute_s,
            "wait_s": measured_s - compute_s,
            "encode_s": log.encode_s,
            "wire_s": log.wire_s,
            "decode_s": log.decode_s,
            "solve_s": step.solve_s,
        },
        predicted=step.explained.predicted,
        residual_norm=step.residual_square**0.5,
        gap=step.explained.gap,
        why=step.explained.why,
    )


def link_record(planner: Planner | None, step: Ended) -> LinkRecord:
    """What is known of the link after a step."""
    samples, log, counted = step.seen.samples, step.log, step.counted
    each = samples.each() if samples is not None else [None] * len(step.seen.everyone.table)
    known = [sample for sample in each if sample is not None]
    least = min(known, key=lambda sample: sample.bytes) if known else None
    forecast = planner.forecast(log.end_s) if planner is not None else None
    return LinkRecord(
        mean_bps=forecast.mean_bps if forecast else None,
        low_bps=forecast.low_bps if forecast else None,
        spread=forecast.spread if forecast else None,
        samples_bps=tuple(sample.bps if sample else None for sample in each),
        bytes=least.bytes if least else 0,
        busy_s=least.busy_s if least else 0.0,
        transfers=tuple((t.bytes, t.start_s, t.end_s) for t in log.transfers),
        ignored=planner.ignored_samples if planner is not None else 0,
        outage_s=step.outage_s,
        delivery_bps=counted.delivery_bps,
        min_rtt_s=counted.min_rtt_s,
        repeated_segments=counted.repeated_segments,
        other_bps=counted.other_bps,
        share=step.seen.everyone.share,
    )

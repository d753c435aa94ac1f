"""From transfers to link samples: bytes over the union of busy intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]  # start and end, s, monotonic

FIRST_PIECE_BYTES = 4 << 10  # its arrival starts the clock of a transfer: waiting for the sender is over by then
MIN_SAMPLE_BYTES = 16 << 10  # below, latency is all that is measured, unless they took LONG_S
LONG_S, MIN_LONG_BYTES = 20e-3, 2 << 10  # on a slow link a small frame measures it as well


@final
@dataclass(frozen=True, slots=True)
class Transfer:
    """One measured receiving: bytes that arrived between two instants of this rank's monotonic clock."""

    bytes: int
    start_s: float
    end_s: float
    collective: bool = False  # True: the interval may contain waiting for a slower rank
    peer: int = -1  # rank that sent it; -1 for a collective


@final
@dataclass(frozen=True, slots=True)
class LinkSample:
    """What one step told about a link."""

    time_s: float  # s, monotonic, when the last byte arrived
    bps: float  # bit/s
    bytes: int
    busy_s: float


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same instants in intervals that do not touch, in order."""
    merged: list[Interval] = []
    for start_s, end_s in sorted(intervals):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((start_s, end_s))
    return merged


def busy_s(intervals: Iterable[Interval]) -> float:
    """Length in seconds of the union of intervals."""
    return math.fsum(end_s - start_s for start_s, end_s in union(intervals) if end_s > start_s)


def totals(transfers: Sequence[Transfer], collective: bool) -> tuple[int, float]:
    """Bytes and busy seconds of the transfers of one kind."""
    chosen = [t for t in transfers if t.collective == collective]
    return sum(t.bytes for t in chosen), busy_s((t.start_s, t.end_s) for t in chosen)


@final
@dataclass(frozen=True)
class LinkSamples:
    """What one step told about the links of all N ranks. A rank whose `bytes` are 0 has no sample."""

    time_s: float  # s, monotonic, when the last byte arrived
    bps: Floats  # (N,) bit/s
    bytes: Floats  # (N,)
    busy_s: Floats  # (N,)

    @classmethod
    def of(cls, samples: Sequence[LinkSample | None]) -> LinkSamples:
        """From single ones; the latest time counts for all."""
        rows = [(s.bps, s.bytes, s.busy_s) if s is not None else (0.0, 0, 0.0) for s in samples]
        table = np.array(rows, np.float64).reshape(len(rows), 3)
        return cls(max((s.time_s for s in samples if s is not None), default=0.0), *table.T)

    def each(self) -> list[LinkSample | None]:
        """One by one."""
        columns = zip(self.bps.tolist(), self.bytes.tolist(), self.busy_s.tolist(), strict=True)
        # What cannot be true is kept for whoever counts it, and is no sample.
        return [LinkSample(self.time_s, bps, int(size), busy) if size and bps > 0 else None
                for bps, size, busy in columns]  # fmt: skip


def enough(count: Floats, bps: Floats | float) -> NDArray[np.bool_]:
    """Whether so many bytes at a rate in bit/s measure a link."""
    valid: NDArray[np.bool_] = (count >= MIN_SAMPLE_BYTES) | ((count >= MIN_LONG_BYTES) & (8 * count >= LONG_S * bps))
    return valid


def link_samples(time_s: float, received: Floats, collective: Floats) -> LinkSamples:
    """One sample a rank, from every rank's totals: (N, 2) bytes and busy seconds.

    Of a collective the shortest duration over the ranks is the wire's; the rest is waiting. None where the
    bytes are too few to say anything. Totals that cannot be true, or that took no time, have NaN as their rate.
    """
    if len(received) != len(collective):
        raise ValueError(f"totals of {len(received)} ranks and of {len(collective)} do not go together")
    count = received[:, 0] + collective[:, 0]
    shortest_s = collective[:, 1][(collective[:, 1] >= 0) & np.isfinite(collective[:, 1])]
    busy = received[:, 1] + (shortest_s.min() if len(shortest_s) else 0.0)
    told = np.concatenate([received, collective], axis=1)
    wrong = ~(np.isfinite(told) & (told >= 0)).all(axis=1) | ((count >= MIN_SAMPLE_BYTES) & (busy == 0))
    return samples_of(time_s, count, busy, wrong)


def samples_of(time_s: float, count: Floats, busy: Floats, wrong: NDArray[np.bool_] | None = None) -> LinkSamples:
    """One sample a rank, from (N,) bytes and (N,) busy seconds; none where they are too few to say anything.

    wrong: (N,) those that cannot be true; their samples have no number for a rate, and will be counted as ignored.
    """
    wrong = np.zeros(len(count), bool) if wrong is None else wrong
    enough = (count >= MIN_SAMPLE_BYTES) | ((count >= MIN_LONG_BYTES) & (busy >= LONG_S))
    enough &= busy > 0
    enough &= ~wrong
    count, busy = np.where(enough, count, np.where(wrong, 1.0, 0.0)), np.where(enough, busy, 0.0)
    bps = np.where(wrong, np.nan, 8 * count / np.where(enough, busy, 1.0))
    return LinkSamples(time_s, bps, count, busy)

"""From transfers to link samples: bytes over the union of busy intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

MIN_SAMPLE_BYTES = 16 << 10  # below, latency is all that is measured


@final
@dataclass(frozen=True, slots=True)
class Transfer:
    """One measured receiving: bytes that arrived between two instants of this rank's monotonic clock."""

    bytes: int
    start_s: float
    end_s: float
    collective: bool = False  # True: the interval may contain waiting for a slower rank


@final
@dataclass(frozen=True, slots=True)
class LinkSample:
    """What one step told about a link."""

    time_s: float  # s, monotonic, when the last byte arrived
    bps: float  # bit/s
    bytes: int
    busy_s: float


def busy_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Length in seconds of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def totals(transfers: Sequence[Transfer], collective: bool) -> tuple[int, float]:
    """Bytes and busy seconds of the transfers of one kind."""
    chosen = [t for t in transfers if t.collective == collective]
    return sum(t.bytes for t in chosen), busy_s((t.start_s, t.end_s) for t in chosen)


def link_samples(
    time_s: float, received: Sequence[tuple[int, float]], collective: Sequence[tuple[int, float]]
) -> list[LinkSample | None]:
    """One sample a rank, from every rank's totals (bytes, busy seconds).

    Of a collective the shortest duration over the ranks is the wire's; the rest is waiting. None where the
    bytes are too few to say anything.
    """
    shortest = min((busy for _, busy in collective), default=0.0)
    samples: list[LinkSample | None] = []
    for (own_bytes, own_busy), (shared_bytes, _) in zip(received, collective, strict=True):
        count, busy = own_bytes + shared_bytes, own_busy + shortest
        enough = count >= MIN_SAMPLE_BYTES and busy > 0
        samples.append(LinkSample(time_s, 8 * count / busy, count, busy) if enough else None)
    return samples

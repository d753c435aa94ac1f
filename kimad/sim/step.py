"""One training step of all workers, event by event: compute, encode, one queue per link, decode.

    ready_b   = start + computing until bucket b + the coding done before it
    encoded_b = max(encoded_{b-1}, ready_b) + encode_b + min(encode_b, computing left)      each worker by itself
    begin_b   = max over workers of max(free, encoded_b)                    an exchange waits for the last one
    arrived_b = when the links have carried the bucket + latency
    free      = arrived_b + decode_b                                        the wire's thread decodes

This is the runtime's order of work: one thread encodes, a second one sends, receives and decodes. Computing uses all of
a worker's share of the processors, so coding beside it delays it by the seconds of coding, and takes twice as long. For
the same reason the end of the step before, statistics to decision, stands in the computing of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.monitor import FIRST_PIECE_BYTES
from kimad.plan import MANY
from kimad.sim.arrivals import arrivals
from kimad.sim.links import Links

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Load:
    """What one bucket asks of processors and links."""

    wire_bytes: float  # that each worker sends, and receives
    copies: float  # pieces of frames that arrive side by side: how many frames are received; 0 for an all-reduce
    encode_s: float  # of a worker that does nothing else meanwhile
    decode_s: float
    latency_s: float  # of the whole exchange, on an empty link
    frame_bytes: Floats | None = None  # (W,) of each worker's frames, where they differ; `wire_bytes` is then a mean

    @property
    def incoming_bytes(self) -> float | Floats:
        """That each worker receives."""
        return self.wire_bytes if self.frame_bytes is None else self.frame_bytes.sum() - self.frame_bytes


@final
@dataclass(frozen=True)
class StepTimes:
    """How a step went. W workers, B buckets."""

    end_s: Floats  # (W,) when each worker had its last bucket
    ready_s: Floats  # (W, B) from its start until each bucket was ready
    received: Floats  # (W, 2) bytes of frames that were timed, and the seconds that they took to arrive
    collective: Floats  # (W, 2) the same of all-reduces
    wire_s: float  # seconds in which the slowest link worked
    peers: Floats | None  # (W, 1 + W) as `Statistics.peers` has them; None of too many workers


def run_step(
    start_s: Floats, computing_s: Floats, loads: Sequence[Load], links: Links, header_share: float
) -> StepTimes:
    """One step that each worker begins at `start_s` (W,); `computing_s` (W, B) until its buckets are ready.

    header_share: bits on the link for each bit of a message, 1 or more.
    """
    workers = len(start_s)
    encoded, free = start_s.copy(), start_s.copy()
    ready = np.empty_like(computing_s)
    received, collective = np.zeros((workers, 2)), np.zeros((workers, 2))
    peers = np.zeros((workers, 1 + workers)) if workers <= MANY else None
    encodes_s = wire_s = 0.0  # encodes_s: of the buckets so far
    decodes: list[tuple[Floats, float]] = []  # of the buckets so far: when it may begin (W,), seconds
    for b, load in enumerate(loads):
        ready[:, b] = computing_s[:, b] + encodes_s
        for may_begin_s, decode_s in decodes:
            ready[:, b] += np.clip(start_s + ready[:, b] - may_begin_s, 0.0, decode_s)
        encodes_s += load.encode_s
        left_s = computing_s[:, -1] - computing_s[:, b]
        encoded = np.maximum(encoded, start_s + ready[:, b]) + load.encode_s + np.minimum(load.encode_s, left_s)
        own = np.maximum(free, encoded)
        begin_s = float(own.max())
        done, last_up_s = _exchange(load, links, begin_s, header_share)
        arrived = done + load.latency_s
        wire_s += last_up_s - begin_s
        if load.copies == workers - 1 and peers is not None:
            peers += _peers(load, links, begin_s, header_share, workers)
        if load.copies:
            first_bytes = min(load.wire_bytes, FIRST_PIECE_BYTES * load.copies)
            if load.wire_bytes > first_bytes:
                up_s, first_down_s = links.finish(begin_s, 8 * first_bytes * header_share)
                received[:, 0] += load.incoming_bytes - first_bytes
                received[:, 1] += done - np.maximum(up_s, first_down_s)
        elif load.wire_bytes:
            collective[:, 0] += load.wire_bytes
            collective[:, 1] += arrived - own
        decodes.append((arrived, load.decode_s))
        free = arrived + load.decode_s
    return StepTimes(free, ready, received, collective, wire_s, peers)


def _exchange(load: Load, links: Links, begin_s: float, header_share: float) -> tuple[Floats, float]:
    """When each worker (W,) has sent and received a bucket, and when the last one has sent it."""
    if load.frame_bytes is None:
        last_up_s, down_s = links.finish(begin_s, 8 * load.wire_bytes * header_share)
        return np.maximum(last_up_s, down_s), last_up_s
    found = arrivals(links, begin_s, 8 * load.frame_bytes * header_share)
    return found.max(axis=1), float(np.diagonal(found).max())


def _peers(load: Load, links: Links, begin_s: float, header_share: float, workers: int) -> Floats:
    """(W, 1 + W) bytes that are timed of each worker's frames, and seconds in which each receiver has each of them."""
    size = np.full(workers, load.wire_bytes / load.copies) if load.frame_bytes is None else load.frame_bytes
    first = np.minimum(size, FIRST_PIECE_BYTES)
    all_s, first_s = (arrivals(links, begin_s, 8 * part * header_share) for part in (size, first))
    return np.column_stack([size - first, (all_s - first_s) * ~np.eye(workers, dtype=bool)])

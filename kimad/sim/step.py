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


@final
@dataclass(frozen=True)
class StepTimes:
    """How a step went. W workers, B buckets."""

    end_s: Floats  # (W,) when each worker had its last bucket
    ready_s: Floats  # (W, B) from its start until each bucket was ready
    received: Floats  # (W, 2) bytes of frames that were timed, and the seconds that they took to arrive
    collective: Floats  # (W, 2) the same of all-reduces
    wire_s: float  # seconds in which the slowest link worked


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
        bits = 8 * load.wire_bytes * header_share
        last_up_s, down_s = links.finish(begin_s, bits)
        arrived = np.maximum(last_up_s, down_s) + load.latency_s
        wire_s += last_up_s - begin_s
        if load.copies:
            first_bytes = min(load.wire_bytes, FIRST_PIECE_BYTES * load.copies)
            if load.wire_bytes > first_bytes:
                up_s, first_down_s = links.finish(begin_s, 8 * first_bytes * header_share)
                received[:, 0] += load.wire_bytes - first_bytes
                received[:, 1] += arrived - load.latency_s - np.maximum(up_s, first_down_s)
        elif load.wire_bytes:
            collective[:, 0] += load.wire_bytes
            collective[:, 1] += arrived - own
        decodes.append((arrived, load.decode_s))
        free = arrived + load.decode_s
    return StepTimes(free, ready, received, collective, wire_s)

"""Mahimahi's traces: each line is a millisecond since the start at which one packet of 1500 bytes may pass.

A millisecond may stand on several lines. The last one is the length of the trace, after which it begins anew.
A packet is spread evenly over the time since the opportunity before it, but over 100 ms at most: a longer gap is a
stop. The writer keeps the bytes of the whole trace within one packet, rounds the length to a millisecond, and puts
the last packet at the end. Source: mm-link(1), github.com/ravinet/mahimahi, traces/README.
"""

from __future__ import annotations

from typing import final

import numpy as np

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows
from kimad.trace.formats.text import MAX_BYTES, head_lines, lines, refusal
from kimad.trace.limits import TraceError, shown
from kimad.trace.steps import Steps

PACKET_BITS = 1500 * 8
MAX_GAP_MS = 100  # a longer gap between packets is a stop


@final
class Mahimahi(Format):
    """See the file's docstring."""

    name = "mahimahi"
    summary = "a millisecond a line at which 1500 bytes may pass; the last is the length"
    suffix = ".mahi"

    def recognise(self, head: str) -> bool:
        found = head_lines(head)[:20]
        return bool(found) and all(line.isascii() and line.isdigit() for line in found)

    def read(self, text: str, name: str) -> Steps:
        rows = Rows(name)
        end_ms, now_ms, packets, line = 0, 0, 0, 1
        for line, content in lines(text, name):
            if not (content.isascii() and content.isdigit() and len(content) < 16):
                raise refusal(name, line, f"{shown(content)} is no whole number of milliseconds, 0 or more")
            time_ms = int(content)
            if time_ms < now_ms:
                raise refusal(name, line, f"{time_ms} ms comes after {now_ms} ms; times must not fall")
            if time_ms > max(now_ms, 1):  # packets at 0 belong to the first millisecond
                end_ms = _flush(rows, line, end_ms, max(now_ms, 1), packets)
                packets = 0
            now_ms = time_ms
            packets += 1
        if now_ms == 0:
            raise refusal(name, line, "the last line is 0 ms, so the trace has no length; it must be 1 or more")
        _flush(rows, line, end_ms, now_ms, packets)
        return rows.steps(line, "there are no packets")

    def write(self, steps: Steps) -> str:
        times_ms = _opportunities_ms(steps)
        if len(times_ms) * (len(str(times_ms[-1])) + 1) > MAX_BYTES:
            need = f"it would need {len(times_ms)} lines, more than are read again"
            raise TraceError(f"format mahimahi: {need}; write native, or generate fewer seconds")
        return "\n".join(map(str, times_ms.tolist())) + "\n"


def _flush(rows: Rows, line: int, before_ms: int, at_ms: int, packets: int) -> int:
    """Add what leads to `packets` at `at_ms`."""
    if packets == 0:
        return before_ms
    spread_ms = min(at_ms - before_ms, MAX_GAP_MS)
    if at_ms - before_ms > spread_ms:
        rows.add(line, (at_ms - before_ms - spread_ms) / 1000, 0.0)
    rows.add(line, spread_ms / 1000, packets * PACKET_BITS / spread_ms / 1000)
    return at_ms


def _opportunities_ms(steps: Steps) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """When each packet passes: in the millisecond in which half of it has been carried."""
    durations_s = steps.durations_s
    carried = np.concatenate([[0.0], np.cumsum(steps.rates_mbps * durations_s)]) * 1e6
    edges_ms = np.append(steps.starts_s, steps.end_s) * 1000
    length_ms = max(round(steps.end_s * 1000), 1)
    count = max(round(carried[-1] / PACKET_BITS), 1)
    if count > MAX_BYTES // 2:
        raise TraceError(f"format mahimahi: it would need {count} lines, more than are read again; write native")
    wanted = (np.arange(count) + 0.5) * PACKET_BITS
    step = np.clip(np.searchsorted(carried, wanted, side="left") - 1, 0, len(durations_s) - 1)
    rates = np.maximum(steps.rates_mbps[step] * 1000, 1e-300)  # bits a millisecond
    exact_ms = edges_ms[step] + np.minimum((wanted - carried[step]) / rates, durations_s[step] * 1000)
    times_ms = np.clip(np.ceil(exact_ms - 1e-9), 1, length_ms).astype(np.int64)
    times_ms[-1] = length_ms
    return times_ms

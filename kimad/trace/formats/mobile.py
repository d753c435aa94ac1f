"""Logs of downloads on the move: `epoch, ms since the start, latitude, longitude, bytes, ms since the line before`.

Norway's HSDPA logs (epoch in seconds; H. Riiser et al., MMSys 2013, "Commute path bandwidth traces from 3G networks")
and Ghent's 4G logs (epoch in milliseconds, on a link of 100 Mbit/s; J. van der Hooft et al., IEEE Communications
Letters 2016, "HTTP/2-based adaptive streaming of HEVC video over 4G/LTE networks"). A line's bytes arrived in its own
last column's time. Where somebody was is neither kept nor written.
"""

from __future__ import annotations

from typing import final

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows
from kimad.trace.formats.text import amount, head_lines, is_number, lines, refusal
from kimad.trace.limits import TraceError
from kimad.trace.steps import Steps

_EPOCH_MS = 1e11  # an epoch above it is in milliseconds: as seconds it would lie beyond the year 5000
_COLUMNS = 6
_READ = (0, 1, 4, 5)  # all but the position


@final
class Hsdpa(Format):
    """Norway's HSDPA logs."""

    name = "hsdpa"
    summary = "Norway's 3G logs: epoch s, ms, latitude, longitude, bytes, elapsed ms (read only)"
    suffix = ""

    def recognise(self, head: str) -> bool:
        return any(epoch < _EPOCH_MS for epoch in _epochs(head))

    def read(self, text: str, name: str) -> Steps:
        return _read(text, name)

    def write(self, steps: Steps) -> str:
        raise _unwritable(self.name)


@final
class Ghent(Format):
    """Ghent's 4G logs."""

    name = "ghent"
    summary = "Ghent's 4G logs: epoch ms, ms, latitude, longitude, bytes, elapsed ms (read only)"
    suffix = ""

    def recognise(self, head: str) -> bool:
        return any(epoch >= _EPOCH_MS for epoch in _epochs(head))

    def read(self, text: str, name: str) -> Steps:
        return _read(text, name)

    def write(self, steps: Steps) -> str:
        raise _unwritable(self.name)


def _epochs(head: str) -> list[float]:
    """The first line's first column, if the lines look like these logs."""
    rows = [line.split() for line in head_lines(head)[:20]]
    if not rows or not all(len(row) == _COLUMNS and all(is_number(row[i]) for i in _READ) for row in rows):
        return []
    return [float(rows[0][0])]


def _read(text: str, name: str) -> Steps:
    rows = Rows(name)
    before_ms = -1.0
    line = 1
    for line, content in lines(text, name):
        fields = content.split()
        if len(fields) != _COLUMNS:
            wanted = "epoch, ms, latitude, longitude, bytes, elapsed ms"
            raise refusal(name, line, f"it has {len(fields)} columns; {_COLUMNS} are needed: {wanted}")
        time_ms = amount(name, line, "ms since the start", fields[1])
        if not time_ms > before_ms:
            raise refusal(name, line, f"{time_ms:.12g} ms is not after {before_ms:.12g} ms; times must rise")
        before_ms = time_ms
        received_bytes = amount(name, line, "bytes", fields[4])
        elapsed_ms = amount(name, line, "elapsed ms", fields[5])
        if elapsed_ms == 0 and received_bytes == 0:
            continue  # says nothing
        if elapsed_ms == 0:
            raise refusal(name, line, f"{received_bytes:g} bytes in 0 ms; the elapsed time must be above 0")
        rows.add(line, elapsed_ms / 1000, received_bytes * 8 / (elapsed_ms * 1000))
    return rows.steps(line, "no line has an elapsed time above 0 ms")


def _unwritable(name: str) -> TraceError:
    reason = "it needs positions, which a trace of rates does not have"
    return TraceError(f"format {name} is not written: {reason}; allowed: native, mahimahi, pensieve, sabre, csv")

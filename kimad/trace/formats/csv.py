"""Any table of times and rates, columns separated by commas, semicolons or tabs.

A row's rate holds until the next row; the last row lasts as long as the one before it, or only ends the trace where it
has no rate. Columns are named, or counted from 1. A column such as `mbps` or `up_kbps` tells its own unit. Times are
numbers, or date-times such as 2024-05-01T12:00:00.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import final

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows, rising
from kimad.trace.formats.native import HEADER, csv_rows
from kimad.trace.formats.text import MAX_LINES, amount, head_lines, is_number, refusal
from kimad.trace.limits import TraceError, shown
from kimad.trace.steps import Steps

RATE_UNITS = {"bit/s": 1e-6, "kbit/s": 1e-3, "Mbit/s": 1.0, "Gbit/s": 1e3, "B/s": 8e-6, "kB/s": 8e-3, "MB/s": 8.0}
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_RATE_NAMES = {"bps": "bit/s", "kbps": "kbit/s", "mbps": "Mbit/s", "gbps": "Gbit/s"}  # also with a word and _ before
_TIME_NAMES = {f"{word}_{unit}": unit for word in ("time", "t", "timestamp") for unit in TIME_UNITS}
_STAMPS = ("%Y.%m.%d_%H.%M.%S", "%Y/%m/%d %H:%M:%S")  # beside ISO 8601
_OPTIONS = "give --time-col, --rate-col and --rate-unit"


@final
@dataclass(frozen=True)
class Csv(Format):
    """A table; None means by the header."""

    time_col: str | None = None  # name or number of the column with the time
    rate_col: str | None = None  # and of that with the rate
    rate_unit: str | None = None  # one of RATE_UNITS
    time_unit: str | None = None  # one of TIME_UNITS; s where the name does not tell

    name = "csv"
    summary = "a table with a column of times and one of rates; a rate holds until the next row"
    suffix = ".csv"

    def __post_init__(self) -> None:
        for option, given, units in (
            ("--rate-unit", self.rate_unit, RATE_UNITS),
            ("--time-unit", self.time_unit, TIME_UNITS),
        ):
            if given is not None and given not in units:
                raise TraceError(f"{option} is {shown(given)}; allowed: {', '.join(units)}")

    def recognise(self, head: str) -> bool:
        found = [line for line in head_lines(head) if not line.startswith("#")]
        if not found or found[0].startswith(("[", "{")) or head.startswith("# kimad-trace"):
            return False
        return _separator(found[0]) is not None and not all(map(is_number, found[0].split()))

    def read(self, text: str, name: str) -> Steps:
        table = _table(text, name)
        line, header = next(table, (1, [""]))
        time_col, rate_col = self._columns(name, line, header)
        rate_unit = self.rate_unit or _rate_unit(header[rate_col])
        if rate_unit is None:
            raise refusal(name, line, f"column {shown(header[rate_col])} does not tell its unit; give --rate-unit")
        time_unit = self.time_unit or _TIME_NAMES.get(header[time_col].lower(), "s")
        rows = Rows(name)
        before: tuple[float, float] | None = None  # time and rate of the row before
        step_s, ended = 0.0, False
        without_header = _is_time(header[time_col])
        for line, row in itertools.chain([(line, header)] if without_header else [], table):  # noqa: B020
            if ended:
                raise refusal(name, line, "it comes after a row without a rate; only the last row may have none")
            if len(row) <= max(time_col, rate_col):
                raise refusal(name, line, f"it has {len(row)} columns; {max(time_col, rate_col) + 1} are needed")
            time_s = _seconds(name, line, row[time_col], time_unit)
            if before is not None:
                step_s = rising(name, line, before[0], time_s)
                rows.add(line, step_s, before[1])
            ended = not row[rate_col]
            rate = 0.0 if ended else amount(name, line, f"column {shown(header[rate_col])}", row[rate_col])
            before = (time_s, rate * RATE_UNITS[rate_unit])
        if before is not None and not ended and step_s > 0:
            rows.add(line, step_s, before[1])
        return rows.steps(line, "at least two rows are needed to say how long a rate holds")

    def write(self, steps: Steps) -> str:
        return csv_rows(steps, HEADER)

    def _columns(self, name: str, line: int, header: list[str]) -> tuple[int, int]:
        """Where the time and the rate are."""
        times = [i for i, column in enumerate(header) if column.lower() in _TIME_NAMES]
        rates = [i for i, column in enumerate(header) if _rate_unit(column) is not None]
        found = []
        for option, given, known in (("--time-col", self.time_col, times), ("--rate-col", self.rate_col, rates)):
            if given is None:
                if len(known) != 1:
                    reason = f"columns {shown(','.join(header))} do not tell what they hold"
                    raise refusal(name, line, f"{reason}; {_OPTIONS} (kimad trace convert writes a trace without them)")
                found.append(known[0])
            elif given in header:
                found.append(header.index(given))
            elif given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= len(header):
                found.append(int(given) - 1)
            else:
                columns = shown(", ".join(header))
                raise refusal(name, line, f"{option} is {shown(given)}; allowed: {columns}, or 1 to {len(header)}")
        return found[0], found[1]


def _separator(line: str) -> str | None:
    counts = {mark: line.count(mark) for mark in (",", ";", "\t")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None


def _table(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line and stripped cells of every row that is neither blank nor a comment."""
    first = next((line for line in head_lines(text[: 1 << 16]) if not line.startswith("#")), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(first) or ",")
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise refusal(name, reader.line_num, f"it is no CSV: {error}") from None
        if reader.line_num > MAX_LINES:
            raise refusal(name, reader.line_num, f"it has more than {MAX_LINES} lines, the most that is read; cut it")
        cells = [cell.strip() for cell in row]
        if any(cells) and not cells[0].startswith("#"):
            yield reader.line_num, cells


def _rate_unit(column: str) -> str | None:
    return _RATE_NAMES.get(column.lower().rpartition("_")[2])


def _is_time(text: str) -> bool:
    try:
        _stamp_s(text)
    except ValueError:
        return False
    return True


def _seconds(name: str, line: int, text: str, unit: str) -> float:
    try:
        stamp_s = _stamp_s(text)
    except ValueError:
        raise refusal(name, line, f"the time {shown(text)} is neither a number nor a date-time") from None
    if stamp_s is None:
        return amount(name, line, "the time", text) * TIME_UNITS[unit]
    return stamp_s


def _stamp_s(text: str) -> float | None:
    """Seconds of a date-time on one clock; None for a number. Raises ValueError if it is neither."""
    if is_number(text):
        return None
    if len(text) > 40:
        raise ValueError("too long")
    for form in _STAMPS:
        try:
            return _on_clock_s(datetime.strptime(text, form))
        except ValueError:
            continue
    return _on_clock_s(datetime.fromisoformat(text.replace("Z", "+00:00")))


def _on_clock_s(stamp: datetime) -> float:
    start = datetime(2000, 1, 1, tzinfo=stamp.tzinfo)
    return (stamp - start).total_seconds()

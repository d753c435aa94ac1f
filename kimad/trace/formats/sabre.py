"""Sabre's traces: a JSON list of objects with `duration_ms`, `bandwidth_kbps` and `latency_ms`.

The latency is checked and left out: a trace here is a rate. It is written as 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NoReturn, final

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows
from kimad.trace.formats.text import MAX_LINES, refusal
from kimad.trace.limits import shown
from kimad.trace.steps import Steps

_BLANK = " \t\r\n"


@final
class Sabre(Format):
    """See the file's docstring."""

    name = "sabre"
    summary = "a JSON list of duration_ms, bandwidth_kbps and latency_ms (the latency is left out)"
    suffix = ".json"

    def recognise(self, head: str) -> bool:
        return head.lstrip().startswith(("[", "{"))

    def read(self, text: str, name: str) -> Steps:
        rows = Rows(name)
        line = 1
        for line, entry in _entries(text, name):
            if not isinstance(entry, dict):
                raise refusal(
                    name, line, f"the entry {shown(str(entry))} is no object with duration_ms and bandwidth_kbps"
                )
            duration_ms = _amount(name, line, entry, "duration_ms")
            kbps = _amount(name, line, entry, "bandwidth_kbps")
            if "latency_ms" in entry:
                _amount(name, line, entry, "latency_ms")
            rows.add(line, duration_ms / 1000, kbps / 1000)
        return rows.steps(line, "the list is empty; at least one entry is needed")

    def write(self, steps: Steps) -> str:
        pairs = zip(steps.durations_s.tolist(), steps.rates_mbps.tolist(), strict=True)
        rows = [
            json.dumps({"duration_ms": seconds * 1000, "bandwidth_kbps": mbps * 1000, "latency_ms": 0})
            for seconds, mbps in pairs
        ]
        return "[\n" + ",\n".join(rows) + "\n]\n"


def _entries(text: str, name: str) -> Iterator[tuple[int, object]]:
    """Each entry of the list with its line. One by one, so that every fault has a line."""
    decoder = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)
    at, line, counted = _skip(text, 0), 1, 0
    if text[at : at + 1] != "[":
        raise refusal(name, 1, "it is no JSON list; a Sabre trace begins with '['")
    at = _skip(text, at + 1)
    entries = 0
    while text[at : at + 1] != "]" or entries:
        line, counted = line + text.count("\n", counted, at), at
        entries += 1
        if entries > MAX_LINES:
            raise refusal(name, line, f"it has more than {MAX_LINES} entries, the most that is read; cut it")
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(":")[0]
            raise refusal(name, line, f"it is no JSON: {reason}") from None
        yield line, entry
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            line += text.count("\n", counted, at)
            raise refusal(name, line, "after an entry there must be ',' or, at the end, ']'")
        at = _skip(text, at + 1)
    if text[at + 1 :].strip(_BLANK):
        raise refusal(name, line + text.count("\n", counted, at), "there is more after the end of the list")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _amount(name: str, line: int, entry: dict[str, object], key: str) -> float:
    value = entry.get(key)
    if not isinstance(value, float):
        given = "missing" if key not in entry else f"{shown(str(value))}, which is no number"
        raise refusal(name, line, f"{key} is {given}")
    if not 0 <= value < float("inf"):
        raise refusal(name, line, f"{key} is {value:g}; it must be a finite number of 0 or more")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number here")

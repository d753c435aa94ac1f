"""Kimad's own traces: `# kimad-trace v1`, the header `time_s,mbps`, then a row for each step.

A row's rate holds from its time to that of the next row. The last row has no rate: at its time the trace begins anew.
"""

from __future__ import annotations

from typing import final

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows, rising
from kimad.trace.formats.text import amount, lines, refusal
from kimad.trace.limits import shown
from kimad.trace.steps import Steps

MAGIC = "# kimad-trace v1"
HEADER = "time_s,mbps"


@final
class Native(Format):
    """See the file's docstring."""

    name = "native"
    summary = f"{MAGIC!r}, then {HEADER}; a rate holds until the next row, the last row only ends the trace"
    suffix = ".trace"

    def recognise(self, head: str) -> bool:
        return head.startswith("# kimad-trace")

    def read(self, text: str, name: str) -> Steps:
        numbered = lines(text, name)
        for expected in (MAGIC, HEADER):
            line, content = next(numbered, (1, ""))
            if content != expected:
                raise refusal(name, line, f"it is {shown(content)}; it must be {expected!r}")
        rows = Rows(name)
        before_s, rate_mbps = 0.0, None
        line = 2
        for line, content in numbered:
            fields = content.split(",")
            if len(fields) != 2:
                raise refusal(name, line, f"it has {len(fields)} columns; 2 are needed: {HEADER}")
            time_s = amount(name, line, "time_s", fields[0])
            if rate_mbps is not None:
                rows.add(line, rising(name, line, before_s, time_s), rate_mbps)
            elif time_s != 0 or line > 3:
                reason = f"time_s is {time_s:g}; the first row's must be 0" if line == 3 else "it comes after the end"
                raise refusal(name, line, f"{reason}; only the last row has no rate")
            before_s = time_s
            rate_mbps = amount(name, line, "mbps", fields[1]) if fields[1].strip() else None
        if rate_mbps is not None:
            raise refusal(name, line, "it has a rate but no end; add a last row with the time of the end, and no rate")
        return rows.steps(line, "there are no steps; at least one row with a rate, and one for the end, are needed")

    def write(self, steps: Steps) -> str:
        return f"{MAGIC}\n{csv_rows(steps, HEADER)}"


def csv_rows(steps: Steps, header: str) -> str:
    """The header, a row for each step, and one for the end."""
    pairs = zip(steps.starts_s.tolist(), steps.rates_mbps.tolist(), strict=True)
    rows = [f"{start_s!r},{rate_mbps!r}" for start_s, rate_mbps in pairs]
    return "\n".join([header, *rows, f"{float(steps.end_s)!r},"]) + "\n"

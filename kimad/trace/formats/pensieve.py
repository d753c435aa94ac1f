"""Pensieve's "cooked" traces: `time_s Mbit/s` a line, the rate held since the line before.

So its own simulator reads them: the first line says only when the trace begins, the last one when it ends.
Source: github.com/hongzimao/pensieve, sim/fixed_env.py and traces/README.md.
"""

from __future__ import annotations

from typing import final

from kimad.trace.formats.base import Format
from kimad.trace.formats.build import Rows, rising
from kimad.trace.formats.text import head_lines, is_number, lines, numbers
from kimad.trace.steps import Steps


@final
class Pensieve(Format):
    """See the file's docstring."""

    name = "pensieve"
    summary = "time in seconds and Mbit/s, with a space between; the rate held since the line before"
    suffix = ""

    def recognise(self, head: str) -> bool:
        rows = [line.split() for line in head_lines(head)[:20]]
        return bool(rows) and all(len(row) == 2 and all(map(is_number, row)) for row in rows)

    def read(self, text: str, name: str) -> Steps:
        rows = Rows(name)
        before_s: float | None = None
        line = 1
        for line, content in lines(text, name):
            time_s, mbps = numbers(name, line, content.split(), ("time in seconds", "rate in Mbit/s"))
            if before_s is not None:
                rows.add(line, rising(name, line, before_s, time_s), mbps)
            before_s = time_s
        return rows.steps(line, "it is the only line; a second one is needed to say until when its rate holds")

    def write(self, steps: Steps) -> str:
        rows = [f"0.0 {float(steps.rates_mbps[0])!r}"]
        ends_s = [*steps.starts_s[1:].tolist(), float(steps.end_s)]
        rows += [f"{end_s!r} {rate!r}" for end_s, rate in zip(ends_s, steps.rates_mbps.tolist(), strict=True)]
        return "\n".join(rows) + "\n"

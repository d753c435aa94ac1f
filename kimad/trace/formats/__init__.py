"""Formats of trace files, one a file. A further one is one class and one entry here."""

from __future__ import annotations

from dataclasses import replace

from kimad.trace.formats.base import Format
from kimad.trace.formats.csv import Csv
from kimad.trace.formats.mahimahi import Mahimahi
from kimad.trace.formats.mobile import Ghent, Hsdpa
from kimad.trace.formats.native import Native
from kimad.trace.formats.pensieve import Pensieve
from kimad.trace.formats.sabre import Sabre
from kimad.trace.formats.text import HEAD, head_lines, read_text, refusal
from kimad.trace.limits import TraceError, shown
from kimad.trace.steps import Steps

FORMATS: dict[str, Format] = {
    format.name: format for format in (Native(), Mahimahi(), Pensieve(), Sabre(), Hsdpa(), Ghent(), Csv())
}


def find_format(name: str) -> Format:
    """The format of that name. Raises TraceError if there is none."""
    if name not in FORMATS:
        raise TraceError(f"trace format {shown(name)} is not known; allowed: {', '.join(FORMATS)}")
    return FORMATS[name]


def recognise(text: str, name: str) -> Format:
    """The format of a file by its content. Raises TraceError if it is none or several."""
    head = text[:HEAD]
    found = [format for format in FORMATS.values() if format.recognise(head)]
    if len(found) == 1:
        return found[0]
    choice = ", ".join(f"{format.name}:FILE" for format in found or FORMATS.values())
    if found:
        raise refusal(name, 1, f"it may be of {len(found)} formats; say which: {choice}")
    raise refusal(name, 1, f"{shown(head_lines(head)[0])} is of no known format; name it if it has one: {choice}")


def read_trace(path: str, form: str | Format | None = None, *, source: str | None = None) -> Steps:
    """The trace in a file, in the format `form`, or in the one that its content shows; `source` becomes its spec.

    Raises:
        TraceError: unreadable, too large, of no known format, or a line is wrong.
    """
    text = read_text(path)
    if form is None:
        form = recognise(text, path)
    elif isinstance(form, str):
        form = find_format(form)
    return replace(form.read(text, path), source=source or path)


__all__ = ["FORMATS", "Format", "find_format", "read_trace", "recognise"]

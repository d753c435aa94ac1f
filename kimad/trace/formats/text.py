"""Trace files as text: how much of one is read, line by line, and how a fault in it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator

from kimad.trace.limits import TraceError, number, shown, shown_path

MAX_BYTES = 64 * 2**20  # a larger file is refused
MAX_LINES = 10_000_000  # and one of more lines
HEAD = 4096  # characters from which a format is recognised


def refusal(name: str, line: int, reason: str) -> TraceError:
    """The error for one line of a trace; line 0 is the file as a whole."""
    return TraceError(f"trace {shown_path(name)}{f', line {line}' if line else ''}: {reason}")


def read_text(path: str) -> str:
    """The whole of a file, as text.

    Raises:
        TraceError: it cannot be read, is empty or larger than MAX_BYTES, or is no UTF-8 text.
    """
    if not os.path.isfile(path):
        raise refusal(path, 0, "there is no such file; give the path of a trace")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise refusal(path, 0, f"it cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise refusal(
            path, 0, f"it is larger than {MAX_BYTES} bytes, the most that is read; cut it, or use longer steps"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(path, data.count(b"\n", 0, error.start) + 1, "it is no text; a trace is UTF-8 text") from None
    if not text.strip():
        raise refusal(path, 1, "it is empty; a trace has at least one line")
    return text


def lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Number and content of each line that is not blank. Raises TraceError after MAX_LINES."""
    start, count = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        count += 1
        if count > MAX_LINES:
            raise refusal(name, count, f"it has more than {MAX_LINES} lines, the most that is read; cut it")
        if line := text[start:end].strip():
            yield count, line
        start = end + 1


def head_lines(head: str) -> list[str]:
    """The whole, non-blank lines at the beginning of a file (of a single long one, what there is of it)."""
    found = head.split("\n")
    if len(head) >= HEAD and len(found) > 1:
        found = found[:-1]
    return [line.strip() for line in found if line.strip()]


def is_number(text: str) -> bool:
    """Is it a number, as `numbers` takes it?"""
    try:
        number(text)
    except ValueError:
        return False
    return True


def numbers(name: str, line: int, fields: list[str], wanted: tuple[str, ...]) -> list[float]:
    """The numbers of one line, each 0 or more and finite. Raises TraceError, naming the column, if they are not."""
    if len(fields) != len(wanted):
        raise refusal(name, line, f"it has {len(fields)} columns; {len(wanted)} are needed: {', '.join(wanted)}")
    return [amount(name, line, column, text) for column, text in zip(wanted, fields, strict=True)]


def amount(name: str, line: int, column: str, text: str) -> float:
    """A finite number of 0 or more. Raises TraceError if it is none."""
    try:
        value = number(text)
    except ValueError:
        raise refusal(name, line, f"{column} is {shown(text)}, which is no number") from None
    if not 0 <= value < float("inf"):
        raise refusal(name, line, f"{column} is {value:g}; it must be a finite number of 0 or more")
    return value

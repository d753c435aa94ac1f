"""Sections as plain text: no colour, no escape sequence."""

from __future__ import annotations

from kimad.launch.top.sections import Section, headline, sections
from kimad.launch.top.snapshot import Snapshot


def page(shot: Snapshot, blocks: str) -> str:
    """Everything, on as many lines as it needs."""
    parts = [f"{printable(shot.description)}\n{printable(headline(shot))}"]
    parts += [f"{section.title}\n{_table(section)}" for section in sections(shot, blocks)]
    return "\n\n".join(parts)


def printable(text: str) -> str:
    """Names of layers and commands come from outside: nothing in them may steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _table(section: Section) -> str:
    rows = [[printable(cell) for cell in row] for row in section.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

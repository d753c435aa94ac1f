"""What the emulated links did: one CSV file a host in the run folder, whatever the backend.

Columns: `monotonic_s` (CLOCK_MONOTONIC, which all processes of a machine share), `t_s` (since the traces started, so
their difference is t = 0), `up_mbps` and `down_mbps` (Mbit/s; what the host may send and receive until the next line;
0 in an outage; `inf` where the backend sets no limit), `up_bytes` and `down_bytes` (since t = 0; empty if not known).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, final

HEADER = "monotonic_s,t_s,up_mbps,down_mbps,up_bytes,down_bytes"
START_NAME = "start.txt"  # holds the reading of the monotonic clock at t = 0, once that is agreed on
_NAME = re.compile(r"truth-host(\d+)\.csv")


@final
@dataclass(frozen=True, slots=True)
class TruthRow:
    """What one host's link does from a moment on."""

    monotonic_s: float
    t_s: float  # since the traces started
    up_mbps: float  # that the host may send; inf: no limit
    down_mbps: float  # that it may receive; inf: no limit
    up_bytes: int | None = None  # carried since t = 0; None: not known
    down_bytes: int | None = None

    def __str__(self) -> str:
        """A line of the file."""
        counts = ",".join("" if count is None else str(count) for count in (self.up_bytes, self.down_bytes))
        return f"{self.monotonic_s:.6f},{self.t_s:.6f},{self.up_mbps:.6f},{self.down_mbps:.6f},{counts}"

    @property
    def start_monotonic_s(self) -> float:
        """t = 0 on the monotonic clock."""
        return self.monotonic_s - self.t_s


def truth_path(folder: Path, host: int) -> Path:
    """Where the account of a host's link is."""
    return folder / f"truth-host{host}.csv"


def open_truth(path: Path) -> TextIO:
    """The file to write rows to: with the header, or after the rows that are there, if a worker was started anew."""
    file = path.open("a", encoding="utf-8", buffering=1)
    if file.tell() == 0:
        file.write(HEADER + "\n")
    return file


def read_truth(folder: Path) -> dict[int, list[TruthRow]]:
    """The rows of every host that has a file, by host. A last line that was cut off is left out."""
    found = {}
    for path in folder.glob("truth-host*.csv"):
        match = _NAME.fullmatch(path.name)
        if match:
            found[int(match[1])] = list(read_rows(path))
    return dict(sorted(found.items()))


def read_rows(path: Path) -> Iterator[TruthRow]:
    """The rows of one file."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        yield from parse_rows(file)


def parse_rows(lines: Iterable[str]) -> Iterator[TruthRow]:
    """The rows in lines of text, the first of which is the header."""
    for row in csv.DictReader(lines):
        try:
            monotonic_s, t_s, up, down = (float(row[n]) for n in ("monotonic_s", "t_s", "up_mbps", "down_mbps"))
            sent, received = (int(row[name]) if row.get(name) else None for name in ("up_bytes", "down_bytes"))
        except (TypeError, ValueError):
            continue  # the run was ended while it was written, or goes on
        yield TruthRow(monotonic_s, t_s, up, down, sent, received)


def agree_on_start(folder: Path, proposed_s: float) -> float:
    """Make `proposed_s` t = 0 of the run, unless that is known already; returns what holds."""
    path = folder / START_NAME
    part = folder / f"{START_NAME}.{os.getpid()}.part"
    part.write_text(f"{proposed_s!r}\n", encoding="utf-8")
    try:
        os.link(part, path)
    except FileExistsError:
        pass  # of another group of ranks, or of these ranks before they were started anew
    finally:
        part.unlink()
    return float(path.read_text(encoding="utf-8"))


def known_start(folder: Path) -> float | None:
    """t = 0 on the monotonic clock, once it is known."""
    path = folder / START_NAME
    return float(path.read_text(encoding="utf-8")) if path.is_file() else None

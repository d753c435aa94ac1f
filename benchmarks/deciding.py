"""The bounds of deciding: `python -m benchmarks.deciding`."""

from __future__ import annotations

from benchmarks.overlap import overlap_rows
from benchmarks.rows import Row, command
from benchmarks.solving import solving_rows


def measure(quick: bool) -> list[Row]:
    """All rows."""
    return [*solving_rows(quick), *overlap_rows(quick)]


main = command("deciding", measure)

if __name__ == "__main__":
    main()

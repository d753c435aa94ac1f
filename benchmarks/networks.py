"""The networks' bounds: `python -m benchmarks.networks`. Needs network namespaces; an hour."""

from __future__ import annotations

from benchmarks.fidelity import fidelity_rows
from benchmarks.goodput import goodput_rows, move_if_needed
from benchmarks.rows import Row, command
from benchmarks.simulation import simulation_rows


def measure(quick: bool) -> list[Row]:
    """All rows."""
    return [*goodput_rows(quick), *simulation_rows(quick), *fidelity_rows(quick)]


main = command("networks", measure)

if __name__ == "__main__":
    move_if_needed("benchmarks.networks")
    main()

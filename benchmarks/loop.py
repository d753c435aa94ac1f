"""The loop's bounds: `python -m benchmarks.loop`."""

from __future__ import annotations

from benchmarks.estimate import estimate_rows
from benchmarks.overhead import overhead_rows
from benchmarks.rows import Row, command
from benchmarks.solving import solver_rows
from benchmarks.training import quick_rows, training_rows


def measure(quick: bool) -> list[Row]:
    """All rows."""
    if quick:
        return [*solver_rows(repeats=5), *overhead_rows(rounds=2, warm_up=0), *quick_rows()]
    return [
        *solver_rows(repeats=25),
        *overhead_rows(rounds=24, warm_up=4),
        *estimate_rows(steps=170),
        *training_rows(),
    ]


main = command("loop", measure)

if __name__ == "__main__":
    main()

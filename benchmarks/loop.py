"""The loop's bounds: `python -m benchmarks.loop`."""

from __future__ import annotations

from benchmarks.estimate import estimate_rows
from benchmarks.kernels import kernel_rows, solver_rows
from benchmarks.overhead import overhead_rows
from benchmarks.rows import Row, command
from benchmarks.training import training_rows


def measure(quick: bool) -> list[Row]:
    """All rows; what needs a quiet machine least goes last."""
    return [
        *kernel_rows(repeats=5 if quick else 15),
        *solver_rows(repeats=5 if quick else 25),
        *overhead_rows(rounds=2 if quick else 24),
        *estimate_rows(steps=12 if quick else 170),
        *training_rows(quick),
    ]


main = command("loop", measure)

if __name__ == "__main__":
    main()

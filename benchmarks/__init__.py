"""Measurements: `python -m benchmarks.NAME` prints one table, `python -m benchmarks` runs them all."""

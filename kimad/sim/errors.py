"""Errors of the simulator."""

from __future__ import annotations

from kimad.errors import KimadError


class SimulationError(KimadError, ValueError):
    """A scenario that cannot be simulated: one line with what was given and what is allowed."""

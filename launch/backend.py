"""What a way of shaping the link has to offer. Each is one file and one line in `backends.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kimad.trace import Link


@final
@dataclass(frozen=True)
class ShapingReport:
    """What one rank's shaping did, from its own counters."""

    sockets: int  # connections that were shaped, at any time
    seconds: float  # from the start of the trace to the end
    sent_bytes: int  # acknowledged in that time
    worst_start_s: float  # the second that came nearest to its limit, or went over it: its start
    worst_sent_bytes: int
    worst_allowed_bytes: int
    cpu_share: float  # of one core, used by the shaping itself
    failure: str | None  # why shaping ended early


class Shaper(ABC):
    """Shapes what one worker process sends; made and used in that process."""

    @abstractmethod
    def start(self, start_monotonic_s: float) -> None:
        """Begin at t = 0 of the trace, which is this reading of CLOCK_MONOTONIC."""

    @abstractmethod
    def settle(self) -> None:
        """Return once every connection that exists now is shaped; after the start."""

    @abstractmethod
    def close(self) -> ShapingReport | None:
        """Lift the limit and say what was done; None if it was never started."""


class Backend(ABC):
    """A way of shaping, as the command line knows it."""

    name: str  # on the command line
    summary: str  # what it does, half a sentence
    not_modelled: str  # what it does not do, half a sentence

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot work on this machine, or None."""

    @abstractmethod
    def shaper(self, link: Link, truth: Path, skip_ports: Collection[int]) -> Shaper:
        """Shaping for this process; writes what it did to `truth`; leaves `skip_ports` alone."""

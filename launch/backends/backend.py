"""What a way of shaping the links has to offer. Each is one file, and one line in `registry.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kimad.launch.job import Job
from kimad.launch.window import WindowCheck
from kimad.trace import HostLink


@final
@dataclass(frozen=True)
class ShapingReport:
    """What one rank's or one link's shaping did, from its own counters."""

    sockets: int  # connections, or groups, that were shaped, at any time; 0 where links are
    seconds: float  # from the start of the trace to the end
    sent_bytes: int  # acknowledged, or carried, in that time
    worst_start_s: float  # the second that came nearest to its limit, or went over it: its start
    worst_sent_bytes: int
    worst_allowed_bytes: int
    cpu_share: float  # of one core, used by the shaping itself
    failure: str | None  # why shaping ended early


def make_report(
    check: WindowCheck,
    seconds: float,
    sent_bytes: int,
    *,
    sockets: int = 0,
    cpu_share: float = 0.0,
    failure: str | None = None,
) -> ShapingReport:
    """The report on a link whose bytes `check` has seen."""
    worst = check.worst
    return ShapingReport(
        sockets=sockets,
        seconds=seconds,
        sent_bytes=sent_bytes,
        worst_start_s=worst.start_s if worst else 0.0,
        worst_sent_bytes=worst.sent_bytes if worst else 0,
        worst_allowed_bytes=worst.allowed_bytes if worst else 0,
        cpu_share=cpu_share,
        failure=failure,
    )


@final
@dataclass(frozen=True)
class Seat:
    """Where one worker sits in an emulated run."""

    rank: int
    host: int
    local_rank: int  # among the host's processes
    link: HostLink  # of the host
    folder: Path  # of the run
    skip_ports: Collection[int]  # of the rendezvous store: its traffic is torch's own


class Shaper(ABC):
    """One worker's side of the shaping; made and used in that process."""

    @abstractmethod
    def start(self, start_monotonic_s: float) -> None:
        """Begin at t = 0 of the trace, which is this reading of CLOCK_MONOTONIC."""

    @abstractmethod
    def settle(self) -> None:
        """Return once everything that this process may send from now on is shaped; after the start.

        Raises:
            BackendError: it is not shaped, so the run must not go on.
        """

    @abstractmethod
    def group_made(self, group: object, ranks: list[int]) -> object:
        """A process group of these ranks was made after the start; returns the one that Kimad uses."""

    @abstractmethod
    def close(self) -> ShapingReport | None:
        """Lift the limit and say what was done; None if it was never started, or is not this process's to say."""


class Network(ABC):
    """The launcher's side of one emulated run."""

    @abstractmethod
    def open(self, folder: Path) -> dict[str, str]:
        """Set up before the workers start; returns what is added to their environment."""

    @abstractmethod
    def close(self) -> None:
        """Take everything down. May be called again, and without `open`."""

    @abstractmethod
    def reports(self) -> dict[str, ShapingReport]:
        """What the links did, by their names; after `close`. Empty where the ranks report themselves."""

    @abstractmethod
    def failures(self) -> list[str]:
        """What went wrong with the shaping, a line each; after `close`."""


@final
class NoNetwork(Network):
    """The workers do all of it themselves."""

    def open(self, folder: Path) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass

    def reports(self) -> dict[str, ShapingReport]:
        return {}

    def failures(self) -> list[str]:
        return []


class Backend(ABC):
    """A way of shaping, as the command line knows it. As it stands here it works inside the workers, where they are."""

    name: str  # on the command line
    summary: str  # what it does, half a sentence
    nothing: str  # why it may have found nothing to shape, and what to do

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot work on this machine, or None."""

    def unfit(self, job: Job) -> str | None:
        """Why it cannot do what this job asks for, or None."""
        return "it has no latency and no loss" if job.latency_ms or job.loss_percent else None

    @abstractmethod
    def not_modelled(self, job: Job) -> str:
        """What it leaves out of such a job, as a list in words."""

    def move(self, argv: list[str]) -> None:
        """Go to where the network can be made, if that is elsewhere: replaces this process by `kimad ARGV`."""
        return

    def network(self, job: Job) -> Network:
        """The launcher's side."""
        return NoNetwork()

    def enter(self, job: Job, environment: MutableMapping[str, str]) -> None:
        """First thing in a worker, before any socket is opened: go where the network is."""
        return

    @property
    def through_kimad(self) -> bool:
        """Whether it shapes nothing but what Kimad sends, so that plain DDP must go through Kimad as well."""
        return False

    @abstractmethod
    def shaper(self, job: Job, seat: Seat) -> Shaper:
        """The worker's side."""

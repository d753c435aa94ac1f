"""What `kimad bench link` found, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from kimad.launch.link.measure import Found
from kimad.launch.words import seconds

HEADS = ("link", "alone", "both ways at once", "round trip")


@final
@dataclass(frozen=True)
class LinkRow:
    """From one rank to another."""

    source: int  # rank that sends
    target: int  # rank that receives
    alone_bps: float  # bit/s of payload, with nothing the other way
    both_bps: float  # bit/s of payload, with as much the other way
    round_trip_s: float  # of a small message and its answer


@final
@dataclass(frozen=True)
class Result:
    """All links that were measured."""

    hosts: tuple[str, ...]  # of each rank
    seconds: float  # that each figure was to take
    piece_bytes: int  # of one message
    links: tuple[LinkRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, texts and lists."""
        return {"ranks": len(self.hosts), **asdict(self)}

    @classmethod
    def from_json(cls, figures: Mapping[str, Any]) -> Result:
        """The same back."""
        rows = tuple(LinkRow(**row) for row in figures["links"])
        return cls(tuple(figures["hosts"]), figures["seconds"], figures["piece_bytes"], rows)

    @property
    def slowest(self) -> LinkRow:
        """The link that training waits for: that with the lowest rate while both directions work."""
        return min(self.links, key=lambda row: row.both_bps)

    def table(self) -> list[tuple[str, ...]]:
        """Heads, and a row for each link, as text."""
        return [HEADS, *(self._cells(row) for row in self.links)]

    def lines(self) -> tuple[str, str]:
        """What was measured, and what matters of it."""
        size = f"{self.piece_bytes >> 10} KiB a message, {self.seconds:g} s a figure"
        title = f"{len(self.hosts)} ranks over gloo, {size}; rates are those of the payload"
        slow = self.slowest
        link = f"{self._name(slow.source)} -> {self._name(slow.target)}"
        return title, f"slowest with both directions at work: {link}, {rate(slow.both_bps)}"

    def _cells(self, row: LinkRow) -> tuple[str, ...]:
        link = f"{self._name(row.source)} -> {self._name(row.target)}"
        return link, rate(row.alone_bps), rate(row.both_bps), seconds(row.round_trip_s)

    def _name(self, rank: int) -> str:
        return str(rank) if len(set(self.hosts)) == 1 else f"{rank} ({self.hosts[rank]})"


def rows_of(low: int, high: int, found: Found) -> Sequence[LinkRow]:
    """Both directions of a pair."""
    return (
        LinkRow(low, high, found.up_bps, found.both_up_bps, found.round_trip_s),
        LinkRow(high, low, found.down_bps, found.both_down_bps, found.round_trip_s),
    )


def rate(bps: float) -> str:
    """In Mbit/s, four digits at most.

    Example:
        >>> rate(95_612_000), rate(12_345_000_000)
        ('95.61 Mbit/s', '12345 Mbit/s')
    """
    mbps = bps / 1e6
    return f"{mbps:.0f} Mbit/s" if mbps >= 1000 else f"{mbps:.4g} Mbit/s"

"""Other programs' traffic on the network interface of the group: what it counted, less what is this process's own.

    excess = counted - 1.02 · (bytes of ours + headers · segments)         of each direction; sending: - queued
    other  = max(0, larger excess) · 8 / seconds
    queued = what the excess of sending lacks to 0, as far as TCP has it unacknowledged: counted in the next interval

Own bytes are taken as high as they can be, so that neither headers nor repetitions nor what was still queued a step ago
shows as others' traffic: a segment has 70 bytes of headers (Ethernet with a VLAN tag, IPv4, TCP with timestamps), or 90
with IPv6, though an interface that is given bundles of segments counts those of a bundle alone; and 2 % are allowed for
what arrives twice. So others' traffic of up to a tenth of ours may not show.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import psutil

from kimad.tcp import Endpoint, TcpInfo, plain_address

IPV4_BYTES, IPV6_BYTES = 70, 90  # headers of a segment, at most
TOLERANCE = 0.02  # share of own bytes that may be counted once more

Step = tuple[TcpInfo, TcpInfo]  # one connection's counters before and after a step


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """What an interface has counted since the system started."""

    time_s: float  # monotonic
    sent_bytes: int
    received_bytes: int


@final
@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface."""

    name: str
    addresses: frozenset[str]
    header_bytes: int = IPV4_BYTES  # of a segment that a group sends over it

    def read(self) -> Reading | None:
        """Its counters now, in about 0.1 ms; None once it is gone."""
        found = psutil.net_io_counters(pernic=True, nowrap=False).get(self.name)
        return None if found is None else Reading(time.monotonic(), found.bytes_sent, found.bytes_recv)


def interface_of(group: Sequence[Endpoint]) -> Interface | None:
    """The one interface that a group's connections use, if nobody else of the group does.

    None where there are several. None as well where a connection stays inside the machine: everything on loopback is
    counted as sent and as received, by the ranks of both ends; and where several ranks share an interface, one of them
    cannot tell the others' traffic from other programs'.
    """
    own: dict[str, frozenset[str]] = {
        name: frozenset(plain_address(one.address) for one in addresses)
        for name, addresses in psutil.net_if_addrs().items()
    }
    here = frozenset[str]().union(*own.values())
    if any(one.inside or one.peer in here for one in group):
        return None
    used = {name for name, addresses in own.items() for one in group if one.local in addresses}
    if len(used) != 1:
        return None
    name = used.pop()
    return Interface(name, own[name], IPV6_BYTES if any(":" in one.local for one in group) else IPV4_BYTES)


def others(
    before: Reading, after: Reading, own: Sequence[Step], header_bytes: int, queued_bytes: float
) -> tuple[float | None, float]:
    """Bit/s of others in the busier direction, None where the counters began anew in between; and bytes still queued.

    queued_bytes: of the interval before; this process sent them then, and the interface may have counted them since.
    """
    held_bytes = sum(new.unacked_segments * (new.snd_mss_bytes + header_bytes) for _, new in own)
    seconds = after.time_s - before.time_s
    counted = (after.sent_bytes - before.sent_bytes, after.received_bytes - before.received_bytes)
    if seconds <= 0 or min(counted) < 0:
        return None, held_bytes
    sent = received = 0
    for old, new in own:
        sent += new.sent_bytes - old.sent_bytes + header_bytes * (new.sent_segments - old.sent_segments)
        received += new.bytes_received - old.bytes_received
        received += header_bytes * (new.received_segments - old.received_segments)
    more_sent = counted[0] - (1 + TOLERANCE) * sent - queued_bytes
    more_received = counted[1] - (1 + TOLERANCE) * received
    return 8 * max(0.0, more_sent, more_received) / seconds, min(max(0.0, -more_sent), held_bytes)

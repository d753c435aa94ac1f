"""What the kernel counts on the group's connections: a cross-check beside what is measured at the receiver. Linux.

Nothing is decided from it. A delivery rate is the kernel's newest sample, of one round trip of one connection. It keeps
the last good one while a program sends too little to fill the link, so a rate that did not change in a step, or that
the program limited, is none of that step's. Inside a machine it is that of copying, whatever paces the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from kimad.tcp import Endpoint, TcpInfo, endpoints

LEAST_BYTES = 16 << 10  # that a connection sent in a step; its rate says nothing with fewer

Step = tuple[TcpInfo, TcpInfo]  # one connection's counters before and after a step


@final
@dataclass(frozen=True)
class Counted:
    """What the kernel counted in a step, on this rank. None: not known."""

    delivery_bps: float | None = None  # at which the peers acknowledged what this rank sent
    min_rtt_s: float | None = None  # smallest round trip of the latest minutes, to the farthest peer
    repeated_segments: int | None = None  # sent again in the step


@final
class Counters:
    """Reads the connections of one process group, once a step and in about 10 µs each; from one thread.

    before: the process's connections before the group was made. peers: how many the group has. Where those that came
    since are not as many (gloo makes them late, or the program opened one meanwhile), the group's cannot be told from
    others, and all of this process count that sent something in the step.
    """

    def __init__(self, before: Mapping[int, Endpoint], peers: int) -> None:
        now = known_endpoints()
        made = {inode: endpoint for inode, endpoint in now.items() if inode not in before}
        self.certain = len(made) == peers
        self._endpoints = made if self.certain else now
        self._latest: dict[int, TcpInfo] = {}
        self.read()

    def read(self) -> Counted:
        """What was counted since it was read last. Raises nothing: a figure to look at is not worth a step."""
        latest: dict[int, TcpInfo] = {}
        for inode, endpoint in self._endpoints.items():
            try:
                latest[inode] = endpoint.info()
            except OSError:
                continue  # closed
        before, self._latest = self._latest, latest
        steps = {inode: (before[inode], info) for inode, info in latest.items() if inode in before}
        if not self.certain:
            steps = {inode: (old, new) for inode, (old, new) in steps.items() if new.sent_bytes > old.sent_bytes}
        outside = [step for inode, step in steps.items() if not self._endpoints[inode].inside]
        return counted(list(steps.values()), outside)


def counted(steps: Sequence[Step], outside: Sequence[Step]) -> Counted:
    """What the counters of each connection before and after a step come to; rates are those of `outside` alone."""
    if not steps:
        return Counted()
    trips_s = [new.min_rtt_s for _, new in steps if new.min_rtt_s is not None]
    repeated = sum(new.repeated_segments - old.repeated_segments for old, new in steps)
    return Counted(delivery_bps(outside), max(trips_s, default=None), repeated)


def delivery_bps(steps: Sequence[Step]) -> float | None:
    """Sum over the connections that sent enough, for those that send at the same time have a share of the link each.

    None where one of them has no rate of this step's own.
    """
    sending = [(old, new) for old, new in steps if new.bytes_acked - old.bytes_acked >= LEAST_BYTES]
    if not sending or any(new.app_limited or new.delivery_bps == old.delivery_bps for old, new in sending):
        return None
    return sum(new.delivery_bps for _, new in sending)


def known_endpoints() -> dict[int, Endpoint]:
    """The connections of this process; none where the system does not say."""
    try:
        return endpoints()
    except OSError:
        return {}

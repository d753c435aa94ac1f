"""What the kernel counts on the group's connections: a cross-check beside what is measured at the receiver. Linux.

Nothing is decided from it. A delivery rate is the kernel's newest sample, of one round trip of one connection. It keeps
the last good one while a program sends too little to fill the link, so a rate that did not change in a step, or that
the program limited, is none of that step's. Inside a machine it is that of copying, whatever paces the connection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import psutil

from kimad.interface import Interface, Reading, Step, interface_of, others
from kimad.tcp import Endpoint, TcpInfo, endpoints

LEAST_BYTES = 16 << 10  # that a connection sent in a step; its rate says nothing with fewer


@final
@dataclass(frozen=True)
class Counted:
    """What the kernel counted in a step, on this rank. None: not known."""

    delivery_bps: float | None = None  # at which the peers acknowledged what this rank sent
    min_rtt_s: float | None = None  # smallest round trip of the latest minutes, to the farthest peer
    repeated_segments: int | None = None  # sent again in the step
    other_bps: float | None = None  # of other programs, in the busier direction of the group's interface


@final
class Counters:
    """Reads the connections of one process group, once a step and in about 10 µs each; from one thread.

    before: the process's connections before the group was made. peers: how many the group has. Where those that came
    since are not as many (gloo makes them late, or the program opened one meanwhile), the group's cannot be told from
    others, and all of this process count that sent something in the step.
    """

    def __init__(self, before: Mapping[int, Endpoint], peers: int) -> None:
        self._endpoints = known_endpoints()  # all of this process: the model's other traffic is nobody else's either
        made = self._endpoints.keys() - before.keys()
        self.certain = len(made) == peers
        self._group = set(made if self.certain else self._endpoints)
        self._interface = _interface([self._endpoints[inode] for inode in self._group])
        self._latest: dict[int, TcpInfo] = {}
        self._reading: Reading | None = None
        self._queued_bytes = math.inf  # that may be on their way to the interface
        self.read()

    def look_again(self) -> None:
        """The process made or closed connections beside the group's."""
        self._endpoints = {**known_endpoints(), **{inode: self._endpoints[inode] for inode in self._group}}

    def read(self) -> Counted:
        """What was counted since it was read last. Raises nothing: a figure to look at is not worth a step."""
        reading = self._interface_reading()  # first, so that all that it counted is in what the connections count
        latest: dict[int, TcpInfo] = {}
        for inode, endpoint in self._endpoints.items():
            try:
                latest[inode] = endpoint.info()
            except OSError:
                continue  # closed
        before, self._latest = self._latest, latest
        earlier, self._reading = self._reading, reading
        steps = {inode: (before[inode], info) for inode, info in latest.items() if inode in before}
        group = {inode: step for inode, step in steps.items() if inode in self._group}
        if not self.certain:
            group = {inode: (old, new) for inode, (old, new) in group.items() if new.sent_bytes > old.sent_bytes}
        outside = [step for inode, step in group.items() if not self._endpoints[inode].inside]
        found = counted(list(group.values()), outside)
        if self._interface is None or earlier is None or reading is None or latest.keys() != before.keys():
            return found  # the last bytes of a closed connection are not known, nor the first ones of a new one
        own = [step for inode, step in steps.items() if self._endpoints[inode].local in self._interface.addresses]
        header_bytes = self._interface.header_bytes
        other_bps, self._queued_bytes = others(earlier, reading, own, header_bytes, self._queued_bytes)
        return replace(found, other_bps=other_bps)

    def _interface_reading(self) -> Reading | None:
        try:
            return self._interface.read() if self._interface is not None else None
        except (OSError, psutil.Error):
            return None


def _interface(group: Sequence[Endpoint]) -> Interface | None:
    try:
        return interface_of(group)
    except (OSError, psutil.Error):
        return None


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

"""A link that exists only as a clock, and a process group that is as slow as that link.

Bytes really move over the loopback device; whoever waits for them waits until the link would have delivered them.
Each process keeps the clocks of all hosts: of its own link for what it sends and receives itself, of the others' for
what they send at the same time, as far as it can know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from kimad.group import Group, Work
from kimad.internals import sparse_parts
from kimad.launch.schedule import finish_s
from kimad.trace import HostLink, Link, Scale

_GRACE_S = 0.002  # a wait ends this much late at most; the link was not idle meanwhile
_SLICE_S = 0.1  # of a long wait
_MIN_MEETING_BYTES = 1 << 16  # an all-reduce of less takes no time of its own


@final
class Clock:
    """When a link would have carried everything that it was given. Safe to use from several threads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._busy_until_s = 0.0  # since the start of the trace
        self._lock = threading.Lock()
        self.carried_bytes = 0

    def carry(self, now_s: float, count_bytes: float) -> float:
        """Give it bytes now; returns when they are through. One sending after the other, whoever sends."""
        with self._lock:
            idle = now_s - self._busy_until_s > _GRACE_S
            self._busy_until_s = finish_s(self._link, now_s if idle else self._busy_until_s, 8 * count_bytes)
            self.carried_bytes += int(count_bytes)
            return self._busy_until_s


@final
class Clocks:
    """The links of all ranks, as one process keeps them; the ranks of a host have equal shares of its link.

    Times are seconds since the start of the traces.
    """

    def __init__(self, links: Sequence[HostLink], procs_per_host: int, rank: int, start_monotonic_s: float) -> None:
        self.rank = rank
        self.procs_per_host = procs_per_host
        share = 1 / procs_per_host
        self.up = [Clock(_part(link.up, share)) for link in links for _ in range(procs_per_host)]
        self.down = Clock(_part(links[self.host(rank)].down, share))
        self._start_s = start_monotonic_s

    def host(self, rank: int) -> int:
        """The host of a rank."""
        return rank // self.procs_per_host

    def now_s(self) -> float:
        """The time on the traces."""
        return max(0.0, time.monotonic() - self._start_s)

    def wait_until(self, due_s: float) -> None:
        """Return when the traces have come that far."""
        while (left_s := due_s - self.now_s()) > 0:
            time.sleep(min(left_s, _SLICE_S))


@final
@dataclass(frozen=True)
class _Later:
    """A collective under way: over when `finish` says so."""

    finish: Callable[[], object]

    def wait(self) -> object:
        """Block until the virtual link has delivered; raises RuntimeError as the real one does."""
        return self.finish()


@final
class VirtualGroup:
    """A group whose Work is done no earlier than the links would have carried it.

    `ranks` are the group's members, by their rank in the run. What stays on a host costs nothing.
    """

    def __init__(self, group: Group, clocks: Clocks, ranks: Sequence[int]) -> None:
        self._group = group
        self._clocks = clocks
        self._ranks = list(ranks)

    def rank(self) -> int:
        """As the real group's."""
        return self._group.rank()

    def size(self) -> int:
        """As the real group's."""
        return self._group.size()

    def allreduce(self, tensors: list[Tensor]) -> Work:
        """A ring over the ranks in order: 2 (N - 1)/N of the tensor leaves every host, and comes to it."""
        moved = sum(map(_bytes, tensors)) * 2 * (self.size() - 1) / self.size()
        # The link starts when all have come; the real sending, which takes a while too, runs beside it.
        meeting = self._group.allreduce([torch.zeros(1)]) if moved >= _MIN_MEETING_BYTES else None
        work = self._group.allreduce(tensors)

        def finish() -> object:
            if meeting is not None:
                meeting.wait()
            due_s = self._due(dict.fromkeys(self._ranks, moved / self._clocks.procs_per_host))
            result = work.wait()
            self._clocks.wait_until(due_s)
            return result

        return _Later(finish)

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor]) -> Work:
        """Everybody sends its own to all others."""
        work = self._group.allgather(outputs, inputs)
        size = sum(map(_bytes, inputs))
        return self._after(work, {rank: size * self._away(rank) for rank in self._ranks})

    def broadcast(self, tensors: list[Tensor]) -> Work:
        """The first rank sends to all others."""
        work = self._group.broadcast(tensors)
        first = self._ranks[0]
        return self._after(work, {first: sum(map(_bytes, tensors)) * self._away(first)})

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        """To one rank. The link is busy from now on."""
        clocks = self._clocks
        work = self._group.send(tensors, rank, tag)
        away = clocks.host(self._ranks[rank]) != clocks.host(clocks.rank)
        due_s = clocks.up[clocks.rank].carry(clocks.now_s(), sum(map(_bytes, tensors))) if away else 0.0

        def finish() -> object:
            result = work.wait()
            clocks.wait_until(due_s)
            return result

        return _Later(finish)

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        """From one rank, which sends as much to every other one meanwhile."""
        work = self._group.recv(tensors, rank, tag)
        sender = self._ranks[rank]
        if self._clocks.host(sender) == self._clocks.host(self._clocks.rank):
            return work
        return self._after(work, {sender: sum(map(_bytes, tensors)) * self._away(sender)})

    def _after(self, work: Work, sent: dict[int, float]) -> Work:
        def finish() -> object:
            result = work.wait()
            self._clocks.wait_until(self._due(sent))
            return result

        return _Later(finish)

    def _away(self, rank: int) -> int:
        """Members that are not on this rank's host."""
        return sum(self._clocks.host(other) != self._clocks.host(rank) for other in self._ranks)

    def _due(self, sent: dict[int, float]) -> float:
        """When the slowest is through, and this rank has its part; `sent` is bytes by rank, to all others together."""
        clocks, now_s = self._clocks, self._clocks.now_s()
        if not self._away(clocks.rank):
            return 0.0
        due_s = 0.0
        received = 0.0
        for rank, count in sent.items():
            if count:
                due_s = max(due_s, clocks.up[rank].carry(now_s, count))
                if clocks.host(rank) != clocks.host(clocks.rank):
                    received += count / self._away(rank)
        if received:
            due_s = max(due_s, clocks.down.carry(now_s, received))
        return due_s


def _part(link: Link, share: float) -> Link:
    return Scale(share, link) if share < 1 else link


def _bytes(tensor: Tensor) -> int:
    if tensor.layout == torch.strided:
        return tensor.numel() * tensor.element_size()
    return sum(part.numel() * part.element_size() for part in sparse_parts(tensor))

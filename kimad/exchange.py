"""Moves the bytes of one bucket between the ranks, and times their arrival.

Frames are gathered by all ranks, which costs (N-1) frames a rank; the rest is an all-reduce, 2(N-1)/N buffers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from kimad.coder import Sending
from kimad.errors import ExchangeError
from kimad.group import Group, Work
from kimad.internals import sparse_parts
from kimad.memory import Memory
from kimad.monitor import FIRST_PIECE_BYTES, Transfer
from kimad.plan import MANY, all_reduce_bytes
from kimad.statistics import StepLog
from kimad.waiters import Waiters

Arrived = Callable[[int, float, float], None]  # is told the bytes of a piece, and the seconds in which it came


def nobody(size: int, start_s: float, end_s: float) -> None:
    """Whom pieces are told where nobody asks for them."""


@final
class Incoming:
    """The pieces that one peer sends of a bucket."""

    def __init__(self, peer: int, arrived: Arrived) -> None:
        self.peer = peer
        self._arrived = arrived
        self.works: deque[tuple[int, Work]] = deque()  # bytes, and what to wait for
        self.transfer: Transfer | None = None  # when all are there

    def wait(self) -> None:
        """Until the last piece is there. Keeps no piece, and so no connection, alive afterwards."""
        counted = 0
        try:
            self.works.popleft()[1].wait()
            first_s = end_s = time.monotonic()
            while self.works:
                size, work = self.works.popleft()
                work.wait()
                start_s, end_s = end_s, time.monotonic()
                self._arrived(size, start_s, end_s)
                counted += size
        finally:
            self.works.clear()
        self.transfer = Transfer(counted, first_s, end_s, peer=self.peer)


@final
class Exchange:
    """Sends and receives over a process group of its own; one bucket at a time, from one thread.

    arrived: is told every piece that a transfer counts, from several threads.
    """

    def __init__(self, group: Group, piece_bytes: int, arrived: Arrived = nobody) -> None:
        self._group: Group | None = group
        self._arrived = arrived
        self._piece_bytes = piece_bytes
        self.rank, self.world_size = group.rank(), group.size()
        self._memory = Memory()
        self._waiters = Waiters(MANY)
        self._bucket = self.place = ""  # what is being worked on, for error messages

    def forget_buffers(self) -> None:
        """Give back all memory: the buckets that it was made for come no more."""
        self._memory.clear()

    def close(self) -> None:
        """Let go of the group; its connections close when nobody holds it."""
        self._group = None

    def end(self) -> None:
        """Let go of the group, and end the threads. Nothing is on its way any more."""
        self.close()
        self._waiters.close()

    def send(self, sending: Sending, log: StepLog) -> list[Tensor]:
        """Everybody's frames by rank, or nothing where the payload was all-reduced in place."""
        self._bucket = self.place = f"bucket {sending.bucket.index}"
        log.dense_bytes += plain_bytes(sending.bucket.buffer, self.world_size)
        if sending.mode == "frames":
            return self._all_gather(sending.payload, sending.frame_bytes, log)
        self._all_reduce(sending.payload, log)
        return []

    def _all_gather(self, own: Tensor, sizes: Sequence[int], log: StepLog) -> list[Tensor]:
        """Every rank's bytes, by rank; `sizes` has one length a rank.

        Pieces go all at once, and those of each peer are awaited in order. gloo sends a piece only when its receiver is
        ready for it, so the time from a peer's first piece to its last one is the wire's alone, however late it was.
        """
        group = self._open_group()
        began_s = time.monotonic()
        frames = [own if r == self.rank else self._memory.bytes(("peer", r), sizes[r]) for r in range(self.world_size)]
        peers = [r for r in range(self.world_size) if r != self.rank]
        # Loops, because the closure of a comprehension would keep the group alive in the traceback of an error.
        incoming: list[Incoming] = []
        for r in peers:
            self.place = f"{self._bucket}, receiving from rank {r}"
            mine = Incoming(r, self._arrived)
            for start, stop in pieces(sizes[r], self._piece_bytes):
                mine.works.append((stop - start, group.recv([frames[r][start:stop]], r, 0)))
            incoming.append(mine)
        outgoing: list[Work] = []
        for r in peers:
            self.place = f"{self._bucket}, sending to rank {r}"
            for start, stop in pieces(own.numel(), self._piece_bytes):
                outgoing.append(group.send([own[start:stop]], r, 0))
        failed = self._waiters.run([one.wait for one in incoming])
        if failed is not None:
            self.place = f"{self._bucket}, receiving from rank {incoming[failed[0]].peer}"
            raise failed[1]
        self.place = f"{self._bucket}, sending"
        for work in outgoing:
            work.wait()
        log.transfers += [one.transfer for one in incoming if one.transfer is not None and one.transfer.bytes]
        log.timed_bytes += own.numel() - min(own.numel(), FIRST_PIECE_BYTES, self._piece_bytes)
        log.wire_bytes += own.numel() * len(peers)
        log.wire_s += time.monotonic() - began_s
        return frames

    def _all_reduce(self, tensor: Tensor, log: StepLog) -> None:
        self.place = f"{self._bucket}, all-reduce"
        moved = plain_bytes(tensor, self.world_size)
        began_s = time.monotonic()
        self._open_group().allreduce([tensor]).wait()
        end_s = time.monotonic()
        if tensor.layout == torch.strided:  # otherwise most of the time goes into merging indices
            log.transfers.append(Transfer(moved, began_s, end_s, collective=True))
            self._arrived(moved, began_s, end_s)
        log.wire_bytes += moved
        log.wire_s += end_s - began_s

    def _open_group(self) -> Group:
        if self._group is None:
            raise ExchangeError("the process group of this model is closed")
        return self._group


def pieces(size: int, piece_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and stop of the messages that carry `size` bytes: a small first one, then equal ones."""
    start = 0
    while start < size:
        stop = min(size, start + (piece_bytes if start else min(FIRST_PIECE_BYTES, piece_bytes)))
        yield start, stop
        start = stop


def plain_bytes(gradient: Tensor, world_size: int) -> int:
    """Bytes that a rank sends to all-reduce a gradient; of a sparse one its own entries and indices to all others."""
    if gradient.layout == torch.strided:
        return all_reduce_bytes(gradient.numel() * gradient.element_size(), world_size)
    return (world_size - 1) * sum(part.numel() * part.element_size() for part in sparse_parts(gradient))

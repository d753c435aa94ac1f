"""What two ranks find out about the link between them, over a group as Kimad makes it, in messages as it sends them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import final

import torch

from kimad.config import Config
from kimad.exchange import pieces
from kimad.group import Group
from kimad.launch.link.rounds import START_BYTES, Arrival, Rounds

PIECE_BYTES = Config().piece_bytes
TAG, ECHO_TAG = 0, 1
FIRST_ECHOES, MIN_ECHOES, MAX_ECHOES = 8, 16, 512
ECHO_SHARE = 0.5  # of the seconds of a transfer, for round trips


@final
@dataclass(frozen=True)
class Found:
    """Of one pair of ranks, the lower one first. Rates are those of the payload, at its receiver."""

    up_bps: float  # lower to higher rank, with nothing the other way
    down_bps: float  # higher to lower
    both_up_bps: float  # the same, both at once
    both_down_bps: float
    round_trip_s: float  # median, of small messages that the other side waits for


@final
class Pair:
    """One end of a conversation of two ranks; both ends call the same methods, in the same order.

    What is sent means nothing, so all pieces have the same memory.
    """

    def __init__(self, group: Group, peer: int) -> None:
        self._group, self._peer = group, peer
        self._lower = group.rank() < peer
        self._own = torch.zeros(PIECE_BYTES, dtype=torch.uint8)
        self._theirs = torch.zeros(PIECE_BYTES, dtype=torch.uint8)

    def measure(self, seconds: float) -> Found:
        """Each figure in about so many seconds. Raises RuntimeError when the peer is lost or sends nothing for long."""
        self.transfer(START_BYTES, START_BYTES)  # the connection is new
        up, down = self._alone(seconds, up=True), self._alone(seconds, up=False)
        both_up, both_down = self._both(seconds, up, down)
        return Found(up.bps, down.bps, both_up.bps, both_down.bps, self._round_trip_s(ECHO_SHARE * seconds))

    def transfer(self, up_bytes: int, down_bytes: int) -> tuple[Arrival, Arrival]:
        """Send to the higher rank and to the lower one, at the same time; what arrived at each, known to both after."""
        out_bytes, in_bytes = (up_bytes, down_bytes) if self._lower else (down_bytes, up_bytes)
        incoming = [
            (start, stop, self._group.recv([self._theirs[: stop - start]], self._peer, TAG))
            for start, stop in pieces(in_bytes, PIECE_BYTES)
        ]
        outgoing = [
            self._group.send([self._own[: stop - start]], self._peer, TAG)
            for start, stop in pieces(out_bytes, PIECE_BYTES)
        ]
        first_s, counted = 0.0, 0
        for start, stop, work in incoming:
            work.wait()
            if start == 0:  # gloo sends when its receiver is ready: from here on it is the wire's time alone
                first_s = time.monotonic()
            else:
                counted += stop - start
        own = Arrival(counted, time.monotonic() - first_s if counted else 0.0)
        for work in outgoing:
            work.wait()
        size, seconds = self._tell(own.bytes, own.seconds)
        theirs = Arrival(int(size), seconds)
        return (theirs, own) if self._lower else (own, theirs)

    def _alone(self, seconds: float, *, up: bool) -> Arrival:
        rounds = Rounds(seconds)
        while not rounds.done:
            seen = self.transfer(rounds.next_bytes, 0)[0] if up else self.transfer(0, rounds.next_bytes)[1]
            rounds.add(seen)
        return rounds.total

    def _both(self, seconds: float, up: Arrival, down: Arrival) -> tuple[Arrival, Arrival]:
        """In sizes that take as long in both directions, if these do not disturb each other."""
        ways = [Rounds(seconds, int(alone.bps / 8 * seconds)) for alone in (up, down)]
        while not all(way.done for way in ways):
            for way, seen in zip(ways, self.transfer(ways[0].next_bytes, ways[1].next_bytes), strict=True):
                way.add(seen)
        return ways[0].total, ways[1].total

    def _round_trip_s(self, seconds: float) -> float:
        first_s = self._echoes(FIRST_ECHOES)
        count = int(seconds / max(first_s, 1e-9))
        return self._echoes(min(MAX_ECHOES, max(MIN_ECHOES, count)))

    def _echoes(self, count: int) -> float:
        """Median seconds until the higher rank's answer is back, as the lower one has it; both know it.

        All receives are posted before, or gloo would ask for each message first, which is a round trip more.
        """
        answers = [self._group.recv([self._theirs[i : i + 1]], self._peer, ECHO_TAG) for i in range(count)]
        self._tell(0.0, 0.0)  # both are ready
        taken_s: list[float] = []
        for answer in answers:
            began_s = time.monotonic()
            if not self._lower:
                answer.wait()
            sent = self._group.send([self._own[:1]], self._peer, ECHO_TAG)
            if self._lower:
                answer.wait()
                taken_s.append(time.monotonic() - began_s)
            sent.wait()
        own_s = statistics.median(taken_s) if taken_s else 0.0
        _, theirs_s = self._tell(0.0, own_s)
        return own_s if self._lower else theirs_s

    def _tell(self, first: float, second: float) -> tuple[float, float]:
        """Exchange two numbers."""
        own, theirs = torch.tensor([first, second], dtype=torch.float64), torch.empty(2, dtype=torch.float64)
        coming = self._group.recv([theirs], self._peer, TAG)
        self._group.send([own], self._peer, TAG).wait()
        coming.wait()
        return float(theirs[0]), float(theirs[1])

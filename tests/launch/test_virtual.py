"""A link that is only a clock: when it delivers, and what shares it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import final

import pytest
import torch
from torch import Tensor

from kimad.launch.virtual import Clock, Clocks, VirtualGroup
from kimad.trace import HostLink, parse_link, parse_links


@final
@dataclass
class Instant:
    """A group of `ranks` that has delivered before it is asked."""

    own: int
    ranks: int
    calls: list[str] = field(default_factory=list)

    def wait(self) -> object:
        return None

    def rank(self) -> int:
        return self.own

    def size(self) -> int:
        return self.ranks

    def allreduce(self, tensors: list[Tensor]) -> Instant:
        return self._call("allreduce")

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor]) -> Instant:
        return self._call("allgather")

    def broadcast(self, tensors: list[Tensor]) -> Instant:
        return self._call("broadcast")

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Instant:
        return self._call(f"send {rank} {tag}")

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Instant:
        return self._call(f"recv {rank} {tag}")

    def _call(self, name: str) -> Instant:
        self.calls.append(name)
        return self


def make(
    spec: str, hosts: int, procs_per_host: int = 1, rank: int = 0, late_s: float = 0.0
) -> tuple[VirtualGroup, Clocks, Instant]:
    ranks = hosts * procs_per_host
    clocks = Clocks(parse_links(spec, hosts), procs_per_host, rank, time.monotonic() - late_s)
    real = Instant(rank, ranks)
    return VirtualGroup(real, clocks, range(ranks)), clocks, real


def bytes_of(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.uint8)


def test_clock_is_the_integral_and_banks_nothing() -> None:
    clock = Clock(parse_link("const:8"))  # 1 MB/s
    assert clock.carry(1.0, 500_000) == pytest.approx(1.5, rel=0.02)
    assert clock.carry(1.1, 500_000) == pytest.approx(2.0, rel=0.02)  # behind the first
    assert clock.carry(5.0, 100_000) == pytest.approx(5.1, rel=0.02)  # what was idle is lost
    assert clock.carried_bytes == 1_100_000


def test_pieces_that_are_waited_for_in_turn_take_as_long_as_the_whole() -> None:
    clock = Clock(parse_link("const:80"))
    now_s = 0.0
    for _ in range(100):
        now_s = clock.carry(now_s, 10_000) + 0.001  # each wait ends a little late
    assert now_s == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("allreduce", 0.75), ("allgather", 1.0), ("broadcast", 1.0), ("send", 0.5), ("recv", 1.0)],
)
def test_wait_is_as_long_as_the_link_takes(name: str, seconds: float) -> None:
    """Three hosts at 1.6 Mbit/s and 100 kB: 2 (N - 1)/N of it, or once to each of two others."""
    group, _, real = make("const:1.6", 3, rank=0)
    tensor = bytes_of(100_000 if name != "allreduce" else 112_500)
    began_s = time.monotonic()
    work = {
        "allreduce": lambda: group.allreduce([tensor]),
        "allgather": lambda: group.allgather([[tensor] * 3], [tensor]),
        "broadcast": lambda: group.broadcast([tensor]),
        "send": lambda: group.send([tensor], 1, 7),
        "recv": lambda: group.recv([tensor], 1, 7),
    }[name]()
    issued_s = time.monotonic()
    work.wait()
    ended_s = time.monotonic()
    assert issued_s - began_s < 0.45  # a collective is under way, not waited for
    assert 0.98 * seconds <= ended_s - began_s < seconds + 5.0
    assert (group.rank(), group.size()) == (0, 3)
    assert real.calls[-1].split()[0] == name
    if name in ("send", "recv"):
        assert real.calls[-1] == f"{name} 1 7"


def test_both_directions_run_at_once() -> None:
    group, clocks, _ = make("const:8", 2)
    began_s = time.monotonic()
    incoming = group.recv([bytes_of(1_000_000)], 1, 0)
    outgoing = group.send([bytes_of(1_000_000)], 1, 0)
    incoming.wait()
    outgoing.wait()
    assert 0.98 <= time.monotonic() - began_s < 1.8  # one after the other they would take 2 s
    assert (clocks.up[0].carried_bytes, clocks.up[1].carried_bytes, clocks.down.carried_bytes) == (1_000_000,) * 3


def test_slowest_link_decides() -> None:
    for spec in ("const:80;const:8", "const:8;const:80", "const:80/const:8;const:80", "const:80;const:8/const:80"):
        group, _, _ = make(spec, 2)
        began_s = time.monotonic()
        group.allreduce([bytes_of(100_000)]).wait()
        assert 0.098 <= time.monotonic() - began_s < 5.0, spec


def test_two_groups_share_one_link() -> None:
    """Two models that send at once."""
    first, clocks, _ = make("const:8", 2)
    second = VirtualGroup(Instant(0, 2), clocks, [0, 1])
    began_s = time.monotonic()
    threads = [
        threading.Thread(target=lambda g=group: g.allreduce([bytes_of(100_000)]).wait()) for group in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.196 <= time.monotonic() - began_s < 5.0


def test_processes_of_a_host_share_its_link_and_talk_for_nothing() -> None:
    group, clocks, _ = make("const:8", 2, procs_per_host=2, rank=1)
    assert len(clocks.up) == 4
    began_s = time.monotonic()
    group.send([bytes_of(1_000_000)], 0, 0).wait()
    group.recv([bytes_of(1_000_000)], 0, 0).wait()
    assert time.monotonic() - began_s < 1.5  # through the link 4 s
    group.send([bytes_of(50_000)], 2, 0).wait()
    assert time.monotonic() - began_s >= 0.098  # half of the link
    alone = VirtualGroup(Instant(1, 2), clocks, [0, 1])
    began_s = time.monotonic()
    alone.allreduce([bytes_of(10_000_000)]).wait()
    alone.broadcast([bytes_of(10_000_000)]).wait()
    assert time.monotonic() - began_s < 5.0


def test_dead_link_is_waited_for() -> None:
    """A square wave that is down for its first 0.3 s."""
    link = parse_link("square:0,800,0.6")
    clocks = Clocks([HostLink(link, link)] * 2, 1, 0, time.monotonic())
    VirtualGroup(Instant(0, 2), clocks, [0, 1]).allreduce([bytes_of(100_000)]).wait()
    assert clocks.now_s() >= 0.3

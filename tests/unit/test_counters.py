"""The kernel's counts of a step: which of them are told, and which would mislead."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kimad.counters import LEAST_BYTES, Counted, Counters, counted, delivery_bps, known_endpoints
from kimad.tcp import Endpoint, TcpInfo, endpoints

LINUX = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="TCP_INFO is read on Linux")
ZERO = TcpInfo.parse(bytes(216))
MB = 1 << 20


def moved(sent: int = MB, bps: float = 8e6, **changes: object) -> tuple[TcpInfo, TcpInfo]:
    """A step of one connection."""
    after = replace(ZERO, bytes_acked=sent, sent_bytes=sent, delivery_bps=bps, min_rtt_s=0.01)
    return ZERO, replace(after, **changes)  # type: ignore[arg-type]


def test_each_counter_is_read_from_its_place() -> None:
    raw = bytearray(216)
    raw[7] = 1
    for at, value in ((16, 1448), (24, 3), (100, 7), (136, 50), (140, 40), (144, 9), (148, 1500)):
        struct.pack_into("=I", raw, at, value)
    for at, value in ((120, 1000), (128, 2000), (160, 125_000), (200, 1300), (208, 300)):
        struct.pack_into("=Q", raw, at, value)
    assert TcpInfo.parse(bytes(raw)) == TcpInfo(1448, 3, 1000, 2000, 9, 1009, 1300, 50, 40, 7, 0.0015, 1e6, True)


def test_a_short_answer_has_what_it_holds_and_no_round_trip_is_none() -> None:
    raw = bytearray(168)
    struct.pack_into("=I", raw, 148, 0xFFFFFFFF)
    struct.pack_into("=Q", raw, 120, 500)
    found = TcpInfo.parse(bytes(raw))
    assert (found.min_rtt_s, found.sent_bytes, found.written_bytes) == (None, 500, 500)


def test_connections_that_send_together_share_the_link() -> None:
    assert delivery_bps([moved(bps=8e6)]) == 8e6
    assert delivery_bps([moved(bps=8e6), moved(bps=4e6), moved(LEAST_BYTES - 1, bps=1e12)]) == 12e6


@pytest.mark.parametrize(
    "step",
    [moved(app_limited=True), moved(LEAST_BYTES - 1), moved(bps=0.0)],
    ids=["limited by the program", "too few bytes", "not new"],
)
def test_a_rate_that_is_not_the_links_is_left_out(step: tuple[TcpInfo, TcpInfo]) -> None:
    assert delivery_bps([step]) is None
    both = delivery_bps([step, moved(bps=4e6)])
    assert both == (4e6 if step[1].bytes_acked < LEAST_BYTES else None)


def test_what_a_step_comes_to() -> None:
    old = replace(ZERO, repeated_segments=5)
    steps = [(old, replace(moved()[1], repeated_segments=8)), moved(min_rtt_s=0.04, repeated_segments=1)]
    assert counted(steps, steps) == Counted(16e6, 0.04, 4)
    assert counted(steps, []) == Counted(None, 0.04, 4)
    assert counted([moved(min_rtt_s=None)], steps[:1]) == Counted(8e6, None, 0)
    assert counted([], []) == Counted()


@pytest.mark.parametrize(
    ("local", "peer", "inside"),
    [("10.0.0.1", "10.0.0.2", False), ("10.0.0.1", "10.0.0.1", True), ("127.0.0.1", "127.0.0.2", True),
     ("::1", "::1", True), ("fe80::1", "fe80::2", False)],
)  # fmt: skip
def test_inside_a_machine(local: str, peer: str, inside: bool) -> None:
    assert Endpoint(3, 4, local, peer).inside is inside


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def send(near: socket.socket, far: socket.socket, size: int) -> None:
    sender = threading.Thread(target=near.sendall, args=(b"x" * size,))
    sender.start()
    while size:
        size -= len(far.recv(size))
    sender.join()


@LINUX
def test_the_connections_that_came_with_the_group_are_its_own() -> None:
    with connection() as other:
        before = known_endpoints()
        with connection() as (near, far):
            counters = Counters(before, peers=2)
            assert counters.certain
            send(*other, MB)
            assert counters.read().repeated_segments == 0
            send(near, far, MB)
            found = counters.read()
            assert found.min_rtt_s is not None
            assert 0 < found.min_rtt_s < 1
            assert found.delivery_bps is None, "it is that of copying"
        assert counters.read() == Counted(), "closed, and nobody fails"


def repeated_by(before: Collection[int]) -> int:
    """Segments that the connections made since have sent again, as the kernel has it."""
    made = [one for inode, one in known_endpoints().items() if inode not in before]
    assert len(made) == 2
    return sum(one.info().repeated_segments for one in made)


@LINUX
def test_where_they_cannot_be_told_apart_those_count_that_sent() -> None:
    before = known_endpoints()
    with connection() as (near, far):
        counters = Counters(before, peers=1)
        assert not counters.certain
        assert counters.read() == Counted()
        repeated = repeated_by(before)
        send(near, far, MB)
        assert counters.read().repeated_segments == repeated_by(before) - repeated  # a busy machine repeats some


@LINUX
def test_a_connection_stays_the_programs_own() -> None:
    """Looked at is not held: the peer learns at once that it was closed, and a new socket is not taken for it."""
    before = endpoints()
    with connection() as (near, far):
        mine = [one for inode, one in endpoints().items() if inode not in before]
        assert len(mine) == 2
        assert all(one.info().sent_bytes >= 0 for one in mine)
        assert {one.local for one in mine} == {one.peer for one in mine} == {"127.0.0.1"}
        near.close()
        far.settimeout(5)
        assert far.recv(1) == b""
        with connection():
            closed = [one for one in mine if one.fd != far.fileno()]
            with pytest.raises(OSError, match=r"another socket's|Bad file"):
                closed[0].info()


def test_without_linux_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimad.tcp._FDS", "/nowhere")
    counters = Counters(known_endpoints(), peers=1)
    assert not counters.certain
    assert counters.read() == Counted()

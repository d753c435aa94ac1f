"""Others' traffic on an interface: seen where there is some, and never made of our own."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kimad.counters import Counters
from kimad.interface import IPV4_BYTES, IPV6_BYTES, Interface, Reading, Step, interface_of, others
from kimad.tcp import Endpoint, TcpInfo

MB = 1_000_000
ZERO = TcpInfo.parse(bytes(216))
BEFORE = Reading(10.0, 5 * MB, 7 * MB)


def other_bps(before: Reading, after: Reading, own: Sequence[Step], header_bytes: int = IPV4_BYTES) -> float | None:
    return others(before, after, own, header_bytes, 0.0)[0]


def after(sent: float, received: float, seconds: float = 2.0) -> Reading:
    return Reading(10.0 + seconds, 5 * MB + round(sent), 7 * MB + round(received))


def own(sent: int = 0, received: int = 0, *, mtu: int = 1500) -> Step:
    """A connection that moved so many bytes of payload in segments as large as they come."""
    segments = [-(-size // (mtu - 52)) for size in (sent, received)]
    return ZERO, replace(
        ZERO, sent_bytes=sent, bytes_acked=sent, bytes_received=received, sent_segments=segments[0] + segments[1] // 2,
        received_segments=segments[1] + segments[0] // 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("header_bytes", "counted_bytes"), [(IPV4_BYTES, 66), (IPV4_BYTES, 70), (IPV4_BYTES, 2), (IPV6_BYTES, 90)]
)
def test_headers_are_no_others_traffic(header_bytes: int, counted_bytes: int) -> None:
    """Some interfaces count a segment's headers, others those of a bundle alone."""
    step = own(10 * MB, 4 * MB)
    sent, received = (counted_bytes * count for count in (step[1].sent_segments, step[1].received_segments))
    assert other_bps(BEFORE, after(10 * MB + sent, 4 * MB + received), [step], header_bytes) == 0


def test_repetitions_are_no_others_traffic() -> None:
    """Sent twice, acknowledged once; and of what arrives twice the program sees one."""
    old, new = own(10 * MB, 10 * MB)
    again = replace(new, sent_bytes=11 * MB, sent_segments=new.sent_segments + 700)
    assert other_bps(BEFORE, after(11.7 * MB, 10.6 * MB), [(old, again)]) == 0


def test_what_was_still_queued_is_no_others_traffic() -> None:
    """Of each step's 10 MB the interface counts 3 MB a step later. 2 MB a step of others show once they are more."""
    old, new = own(10 * MB)
    waiting = replace(new, unacked_segments=3 * MB // 1448, snd_mss_bytes=1448)
    found, queued = others(BEFORE, after(7 * MB, 0), [(old, waiting)], IPV4_BYTES, 0.0)
    assert found == 0
    assert 3 * MB < queued < 3.3 * MB
    shown = []
    for counted in (10, 10, 10, 12, 12, 12, 12, 12):
        found, queued = others(BEFORE, after(counted * MB, 0), [(old, waiting)], IPV4_BYTES, queued)
        shown.append(found)
    assert shown[:4] == [0, 0, 0, 0]
    assert all(bps is not None and 4e6 < bps <= 8e6 for bps in shown[6:])
    assert others(BEFORE, after(10 * MB, 0), [own(10 * MB)], IPV4_BYTES, 0.0)[1] == 0, "all of it is acknowledged"


@pytest.mark.parametrize(("sent", "received"), [(20, 4), (10, 14), (30, 44)])
def test_others_show_in_the_busier_direction(sent: int, received: int) -> None:
    found = other_bps(BEFORE, after(sent * MB, received * MB), [own(10 * MB, 4 * MB)])
    assert found is not None
    excess = max(sent - 10, received - 4)
    assert 8e6 * (excess - 1) / 2 < found <= 8e6 * excess / 2


def test_without_traffic_of_ours_all_is_others() -> None:
    assert other_bps(BEFORE, after(4 * MB, 0), []) == 16e6
    assert other_bps(BEFORE, after(4 * MB, 0), [own(), own()]) == 16e6
    assert other_bps(BEFORE, after(0, 0), []) == 0


@pytest.mark.parametrize("counted", [after(-1, 0), after(0, -1), after(0, 0, 0.0), after(MB, MB, -1.0)])
def test_counters_that_began_anew_say_nothing(counted: Reading) -> None:
    assert other_bps(BEFORE, counted, []) is None


def test_an_acknowledgement_has_headers_too() -> None:
    new = replace(ZERO, sent_segments=100, received_segments=100)
    assert other_bps(BEFORE, after(100 * IPV4_BYTES, 100 * IPV4_BYTES), [(ZERO, new)]) == 0


def addresses(**named: Sequence[str]) -> dict[str, list[SimpleNamespace]]:
    return {name: [SimpleNamespace(address=address) for address in found] for name, found in named.items()}


ETH = Interface("eth0", frozenset({"10.0.0.1", "fe80::1", "02:00"}))


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.3")], ETH),
        ([("fe80::1", "fe80::2")], replace(ETH, header_bytes=IPV6_BYTES)),
        ([("10.0.0.1", "10.0.0.2"), ("10.9.0.1", "10.9.0.3")], None),
        ([("127.0.0.1", "127.0.0.1")], None),
        ([("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.1")], None),
        ([("10.0.0.1", "10.9.0.1")], None),
        ([("10.7.0.1", "10.7.0.2")], None),
        ([], None),
    ],
    ids=["one", "scoped", "two interfaces", "loopback", "rank beside", "rank beside, other address", "unknown", "none"],
)
def test_the_interface_of_a_group(
    monkeypatch: pytest.MonkeyPatch, group: list[tuple[str, str]], expected: Interface | None
) -> None:
    here = addresses(lo=["127.0.0.1", "::1"], eth0=["10.0.0.1", "fe80::1%eth0", "02:00"], eth1=["10.9.0.1"])
    monkeypatch.setattr("kimad.interface.psutil.net_if_addrs", lambda: here)
    assert interface_of([Endpoint(3, i, *pair) for i, pair in enumerate(group)]) == expected


def test_an_interface_that_is_gone_says_nothing() -> None:
    assert Interface("no such interface", frozenset()).read() is None


def test_the_counters_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from step to step; a connection that was closed, or no reading, leaves it open."""
    readings: list[Reading | OSError] = [
        BEFORE,
        after(4 * MB, 0),
        after(8 * MB, 0, 4.0),
        after(9 * MB, 0, 5.0),
        OSError("gone"),
        BEFORE,
    ]

    def read(_: Interface) -> Reading:
        found = readings.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr("kimad.counters.interface_of", lambda group: ETH)
    monkeypatch.setattr(Interface, "read", read)
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        counters = Counters({}, peers=2)
        assert counters.read().other_bps == 0, "all of it may have been queued"
        assert counters.read().other_bps == 16e6
        near.close()
        assert counters.read().other_bps is None
        assert counters.read().other_bps is None
        assert counters.read().other_bps is None
    assert readings == []


def test_at_first_it_is_not_known_what_is_queued() -> None:
    assert others(BEFORE, after(9 * MB, 0), [own(MB)], IPV4_BYTES, math.inf) == (0.0, 0.0)

"""This process's own TCP sockets, and what the kernel counts on them (TCP_INFO). Linux, no privileges."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import final

_LENGTH_BYTES = 216  # of struct tcp_info (linux/tcp.h): up to and with bytes_retrans, Linux 4.19
_SHORTEST_BYTES = 168  # with delivery_rate; every kernel since 4.9
# app-limited 7, snd_mss 16, unacked 24, total_retrans 100, acked 120, received 128, segments out 136 and in 140,
# notsent 144, min_rtt 148, delivery_rate 160
_COUNTERS = struct.Struct("=7xB8xI4xI72xI16xQQIIII8xQ")
_APP_LIMITED = 1  # the lowest bit of its byte
_NO_RTT_US = (1 << 32) - 1
_SENT = struct.Struct("=QQ")  # bytes_sent 200, bytes_retrans 208
_SENT_AT = 200
_SO_MAX_PACING_RATE = 47  # linux/socket.h on the common architectures; Python does not export it
_FDS = "/proc/self/fd"

UNLIMITED = (1 << 64) - 1  # a pacing rate in byte/s: no limit

_duplicates: set[int] = set()  # descriptors that are ours and not the program's


@final
@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Counters of one connection; the byte counts run since it was opened."""

    snd_mss_bytes: int  # largest segment it sends
    unacked_segments: int  # sent and not yet acknowledged
    bytes_acked: int
    bytes_received: int
    notsent_bytes: int  # written by the program and still waiting in the kernel
    written_bytes: int  # by the program, wherever they are now
    sent_bytes: int  # put on the network, repetitions included
    sent_segments: int  # acknowledgements included
    received_segments: int  # the same
    repeated_segments: int
    min_rtt_s: float | None  # smallest round trip of the latest minutes; None before the first
    delivery_bps: float  # bit/s at which the peer acknowledged what was sent last
    app_limited: bool  # that rate was limited by what the program had to send, not by the network

    @classmethod
    def parse(cls, raw: bytes) -> TcpInfo:
        """Read what `getsockopt(TCP_INFO)` returned.

        Raises:
            OSError: the kernel's answer is too short to hold these counters.
        """
        if len(raw) < _SHORTEST_BYTES:
            raise OSError(f"TCP_INFO has {len(raw)} bytes; Linux 4.9 or later is needed")
        flags, mss, unacked, repeated, acked, received, out, back, notsent, rtt_us, rate = _COUNTERS.unpack_from(raw)
        sent, again = _SENT.unpack_from(raw, _SENT_AT) if len(raw) >= _LENGTH_BYTES else (acked + unacked * mss, 0)
        written = (sent - again if len(raw) >= _LENGTH_BYTES else acked) + notsent
        rtt_s = None if rtt_us == _NO_RTT_US else rtt_us * 1e-6
        limited = bool(flags & _APP_LIMITED)
        return cls(
            mss, unacked, acked, received, notsent, written, sent, out, back, repeated, rtt_s,
            8.0 * rate, limited,
        )  # fmt: skip

    @classmethod
    def of(cls, sock: socket.socket) -> TcpInfo:
        """Current counters. Raises OSError once the connection is gone."""
        return cls.parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH_BYTES))

    @property
    def sending(self) -> bool:
        """Whether bytes are on their way or waiting to be sent."""
        return self.notsent_bytes > 0 or self.unacked_segments > 0


@final
class Connection:
    """A duplicate of the descriptor of one connected TCP socket, so the owner's stays its own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        local, peer = sock.getsockname(), sock.getpeername()
        self.key = (int(local[1]), int(peer[1]))  # local port, peer port
        self.addresses = (plain_address(local[0]), plain_address(peer[0]))
        _duplicates.add(sock.fileno())

    @classmethod
    def duplicate(cls, fd: int) -> Connection | None:
        """The connection behind descriptor `fd`, or None where it is no connected TCP socket.

        Raises:
            OSError: the descriptor is gone.
        """
        sock = socket.socket(fileno=os.dup(fd))
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            try:
                return cls(sock)
            except OSError:
                pass  # listening, or not connected
        sock.close()
        return None

    def info(self) -> TcpInfo:
        """Current counters. Raises OSError once the connection is gone."""
        return TcpInfo.of(self._sock)

    def limit(self, rate_bytes_per_s: int) -> None:
        """Have the kernel pace what is sent: at most this many byte/s (`UNLIMITED` lifts it)."""
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("=Q", rate_bytes_per_s))

    def close(self) -> None:
        """Close the duplicate; the owner's descriptor is not touched."""
        _duplicates.discard(self._sock.fileno())
        self._sock.close()


@final
@dataclass(frozen=True, slots=True)
class Endpoint:
    """A connected TCP socket of the program, which stays its own: nothing here keeps it open."""

    fd: int
    inode: int
    local: str  # address, without a port
    peer: str

    @property
    def inside(self) -> bool:
        """Whether it leads to this machine itself, as far as the addresses tell."""
        return self.local == self.peer or ip_address(self.local).is_loopback

    def info(self) -> TcpInfo:
        """Current counters, in about 10 µs. Raises OSError once the program has closed it."""
        if os.fstat(self.fd).st_ino != self.inode:
            raise OSError(f"descriptor {self.fd} is another socket's by now")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, self.fd)
        try:
            return TcpInfo.of(sock)
        finally:
            sock.detach()  # or it would close the program's descriptor


def endpoints() -> dict[int, Endpoint]:
    """The connected TCP sockets of this process, by inode. Raises OSError where there is no /proc/self/fd."""
    found: dict[int, Endpoint] = {}
    for inode, fds in socket_descriptors().items():
        try:
            connection = Connection.duplicate(fds[0])
        except OSError:
            continue  # closed in between
        if connection is not None:
            found[inode] = Endpoint(fds[0], inode, *connection.addresses)
            connection.close()
    return found


def socket_descriptors() -> dict[int, list[int]]:
    """All sockets that the program holds: inode -> its descriptors, without our duplicates."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(_FDS):
        fd = int(name)
        if fd in _duplicates:
            continue
        try:
            status = os.fstat(fd)
        except OSError:
            continue  # closed in between
        if stat.S_ISSOCK(status.st_mode):
            found.setdefault(status.st_ino, []).append(fd)
    return found


def read_own(skip_ports: Collection[int] = ()) -> dict[tuple[int, int], TcpInfo]:
    """Counters of every connected TCP socket of this process, by (local port, peer port).

    Descriptor numbers are used again after a close, port pairs practically not. Sockets that
    touch one of `skip_ports` are left out.
    """
    found: dict[tuple[int, int], TcpInfo] = {}
    for fds in socket_descriptors().values():
        try:
            connection = Connection.duplicate(fds[0])
            if connection is None:
                continue
            try:
                if not set(connection.key) & set(skip_ports):
                    found[connection.key] = connection.info()
            finally:
                connection.close()
        except OSError:
            continue  # closed in between
    return found


def plain_address(address: str) -> str:
    """Without the scope of an IPv6 address, and IPv4 as such."""
    return address.partition("%")[0].removeprefix("::ffff:")

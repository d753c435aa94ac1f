"""The TCP sockets of this process over time: new ones are found, closed ones let go, bytes summed over all."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import final

from kimad.tcp import Connection, TcpInfo, socket_descriptors


@final
class SocketSet:
    """Follows all connected TCP sockets that touch none of `skip_ports`.

    A duplicate keeps a connection open after its owner closed it, and its peer would wait for
    ever; so `refresh` lets go of every socket that the program itself no longer holds.
    """

    def __init__(self, skip_ports: Collection[int] = ()) -> None:
        self._skip_ports = frozenset(skip_ports)
        self._open: dict[int, Connection] = {}  # by inode
        self._ignored: set[int] = set()  # inodes of sockets that are not ours to count
        self._base: dict[int, TcpInfo] = {}  # counters when this object was made, of the sockets that existed
        self._latest: dict[int, TcpInfo] = {}  # latest counters of the open sockets
        self._gone_acked_bytes = 0  # of sockets that are closed
        self._gone_written_bytes = 0
        self.seen = 0  # sockets found so far
        self.refresh()
        self._base = {inode: info for inode, (_, info) in self.read().items()}

    @property
    def acked_bytes(self) -> int:
        """Bytes that peers acknowledged since this object was made, over all sockets, as of the latest `read`."""
        return self._gone_acked_bytes + sum(self._acked(inode) for inode in self._latest)

    @property
    def written_bytes(self) -> int:
        """Bytes that the program handed to the kernel since this object was made, as of the latest `read`."""
        return self._gone_written_bytes + sum(self._written(inode) for inode in self._latest)

    @property
    def connections(self) -> list[Connection]:
        """The sockets that are open."""
        return list(self._open.values())

    def refresh(self) -> None:
        """Look for new sockets and let go of closed ones (about 3 µs a descriptor)."""
        present = socket_descriptors()
        for inode in self._open.keys() - present.keys():
            self._drop(inode)
        self._ignored &= present.keys()
        for inode in present.keys() - self._open.keys() - self._ignored:
            try:
                connection = Connection.duplicate(present[inode][0])
            except OSError:
                continue  # closed in between
            if connection is None:
                continue  # may be connecting: asked again next time
            if self._skip_ports & set(connection.key):
                connection.close()
                self._ignored.add(inode)
            else:
                self._open[inode] = connection
                self.seen += 1

    def read(self) -> dict[int, tuple[Connection, TcpInfo]]:
        """Current counters by inode (about 3 µs a socket)."""
        readings: dict[int, tuple[Connection, TcpInfo]] = {}
        for inode, connection in list(self._open.items()):
            try:
                info = connection.info()
            except OSError:
                self._drop(inode)
                continue
            readings[inode] = connection, info
            self._latest[inode] = info
        return readings

    def close(self) -> None:
        """Let go of all sockets."""
        for inode in list(self._open):
            self._drop(inode)

    def _drop(self, inode: int) -> None:
        connection = self._open.pop(inode)
        with contextlib.suppress(OSError):
            self._latest[inode] = connection.info()
        connection.close()
        if inode in self._latest:
            self._gone_acked_bytes += self._acked(inode)
            self._gone_written_bytes += self._written(inode)
            del self._latest[inode]

    def _acked(self, inode: int) -> int:
        base = self._base.get(inode)
        return self._latest[inode].bytes_acked - (base.bytes_acked if base else 0)

    def _written(self, inode: int) -> int:
        base = self._base.get(inode)
        return self._latest[inode].written_bytes - (base.written_bytes if base else 0)

"""The experts behind a TCP connection: a server that serves a store, and the store that asks it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import final

from examples.moe.inference.layout import Key, Manifest, StoreError
from examples.moe.inference.store import Store

TIMEOUT_S = 5.0  # without an answer
MAX_ANSWER_BYTES = 1 << 24
_REQUEST = struct.Struct("<iiqq")  # layer (-1: the manifest), expert, offset, bytes
_ANSWER = struct.Struct("<q")  # bytes that follow


def receive(connection: socket.socket, into: memoryview) -> None:
    """Fill `into`. Raises ConnectionError where the other side closes before that."""
    done = 0
    while done < len(into):
        got = connection.recv_into(into[done:])
        if not got:
            raise ConnectionError("the connection was closed")
        done += got


@final
class StoreServer:
    """Serves a store to any number of clients, one thread each, until it is closed."""

    def __init__(self, store: Store, host: str = "127.0.0.1", port: int = 0) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._listening = socket.create_server((host, port))
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return  # closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._connections.append(connection)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        request = bytearray(_REQUEST.size)
        manifest = self._store.manifest
        # A client that leaves, or that asks for what there is not, is no error of the server's.
        with contextlib.suppress(OSError, StoreError), connection:
            while True:
                receive(connection, memoryview(request))
                layer, expert, offset, size = _REQUEST.unpack(request)
                if layer == -1:
                    answer = bytearray(manifest.encode())
                elif (
                    0 <= layer < manifest.config.layers
                    and 0 <= expert < manifest.config.experts
                    and 0 <= offset <= offset + size <= manifest.expert_bytes
                ):
                    answer = bytearray(size)
                    with self._lock:
                        self._store.read((layer, expert), offset, memoryview(answer))
                else:
                    return
                connection.sendall(_ANSWER.pack(len(answer)) + answer)

    def close(self) -> None:
        """Close every connection, and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(TIMEOUT_S)


@final
class TcpStore(Store):
    """Asks a server. One that goes away, or does not answer in time, is a StoreError."""

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        """Raises StoreError: nobody answers there, or somebody else does."""
        self._name = f"{host}:{port}"
        self._timeout_s = timeout_s
        try:
            self._connection = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise StoreError(f"expert server {self._name}: {error.strerror or error}") from None
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            answer = bytearray(self._ask(-1, 0, 0, 0))
            self._receive(memoryview(answer))
            super().__init__(Manifest.decode(bytes(answer)))
        except StoreError:
            self._connection.close()
            raise

    def _ask(self, layer: int, expert: int, offset: int, size: int) -> int:
        header = bytearray(_ANSWER.size)
        try:
            self._connection.sendall(_REQUEST.pack(layer, expert, offset, size))
        except OSError as error:
            raise StoreError(f"expert server {self._name} went away: {error.strerror or error}") from None
        self._receive(memoryview(header))
        length = int(_ANSWER.unpack(header)[0])
        if not 0 <= length <= MAX_ANSWER_BYTES:
            raise StoreError(f"expert server {self._name} announced {length} bytes; allowed: {MAX_ANSWER_BYTES}")
        return length

    def _receive(self, into: memoryview) -> None:
        try:
            receive(self._connection, into)
        except TimeoutError:
            raise StoreError(f"expert server {self._name} did not answer within {self._timeout_s:g} s") from None
        except OSError as error:
            raise StoreError(f"expert server {self._name} went away: {error.strerror or error}") from None

    def read(self, key: Key, offset: int, into: memoryview) -> None:
        self.manifest.index(key)
        got = self._ask(*key, offset, len(into))
        if got != len(into):
            raise StoreError(f"expert server {self._name} sent {got} bytes where {len(into)} were asked for")
        self._receive(into)
        self.bytes_read += len(into)

    def close(self) -> None:
        self._connection.close()

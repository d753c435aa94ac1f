"""Stores of experts: what comes out is what went in, or a named error."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from examples.moe.config import ModelConfig
from examples.moe.inference.file_store import FileStore, write_experts
from examples.moe.inference.layout import Manifest, StoreError, as_bytes, matrices, pack
from examples.moe.inference.store import MemoryStore, Store
from examples.moe.inference.tcp_store import StoreServer, TcpStore
from examples.moe.model import LanguageModel

TINY = ModelConfig(layers=2, width=16, heads=2, hidden=40, experts=3, context=16)


@pytest.fixture(scope="module")
def packed() -> tuple[Manifest, torch.Tensor]:
    torch.manual_seed(0)
    return pack(LanguageModel(TINY))


@pytest.fixture(params=["memory", "file", "tcp"])
def store(request: pytest.FixtureRequest, packed: tuple[Manifest, torch.Tensor], tmp_path: Path) -> Iterator[Store]:
    memory = MemoryStore(*packed)
    if request.param == "memory":
        yield memory
    elif request.param == "file":
        write_experts(tmp_path / "experts.bin", *packed)
        file = FileStore(tmp_path / "experts.bin")
        yield file
        file.close()
    else:
        server = StoreServer(memory)
        client = TcpStore(*server.address)
        yield client
        client.close()
        server.close()


def test_every_expert_comes_out_in_pieces_as_it_went_in(store: Store, packed: tuple[Manifest, torch.Tensor]) -> None:
    assert store.manifest == packed[0]
    size = store.manifest.expert_bytes
    for layer, expert in itertools.product(range(2), range(3)):
        into = torch.zeros(TINY.expert_values)
        view = as_bytes(into)
        for offset in range(0, size, 1000):
            store.read((layer, expert), offset, view[offset : offset + 1000])
        store.manifest.check((layer, expert), view)
        assert torch.equal(into, packed[1][layer * 3 + expert])
    assert store.bytes_read == 6 * size


def test_the_flat_buffer_holds_the_matrices() -> None:
    torch.manual_seed(1)
    model = LanguageModel(TINY)
    _, flat = pack(model)
    up, down = matrices(flat[4], TINY)
    expert = model.block(1).moe.expert(1)
    assert torch.equal(up, expert.up.weight)
    assert torch.equal(down, expert.down.weight)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, packed: tuple[Manifest, torch.Tensor]) -> None:
    path = tmp_path / "experts.bin"
    write_experts(path, *packed)
    whole = path.read_bytes()
    for size in (0, 4, 30, 4096, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"cut or altered|not a file|cannot be read"):
            FileStore(path)
    path.write_bytes(b"X" + whole[1:])
    with pytest.raises(StoreError, match="not a file of experts"):
        FileStore(path)
    with pytest.raises(StoreError, match="No such file"):
        FileStore(tmp_path / "none")


def test_an_altered_expert_has_another_checksum(tmp_path: Path, packed: tuple[Manifest, torch.Tensor]) -> None:
    path = tmp_path / "experts.bin"
    write_experts(path, *packed)
    raw = bytearray(path.read_bytes())
    raw[-5000] ^= 1
    path.write_bytes(raw)
    file = FileStore(path)
    altered = 0
    for key in itertools.product(range(2), range(3)):
        view = as_bytes(torch.zeros(TINY.expert_values))
        file.read(key, 0, view)
        with contextlib.suppress(StoreError):
            file.manifest.check(key, view)
            altered -= 1
        altered += 1
    file.close()
    assert altered == 1


def test_a_server_that_goes_away_is_named(packed: tuple[Manifest, torch.Tensor]) -> None:
    server = StoreServer(MemoryStore(*packed))
    client = TcpStore(*server.address)
    view = as_bytes(torch.zeros(TINY.expert_values))
    client.read((0, 0), 0, view)
    server.close()
    with pytest.raises(StoreError, match="went away"):
        client.read((0, 1), 0, view)
    client.close()
    with pytest.raises(StoreError, match="expert server"):
        TcpStore(*server.address)


def test_a_server_that_does_not_answer_is_named_within_the_timeout() -> None:
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StoreError, match=r"did not answer within 0\.2 s"),
    ):
        TcpStore("127.0.0.1", silent.getsockname()[1], timeout_s=0.2)


def test_the_server_answers_no_request_for_what_there_is_not(packed: tuple[Manifest, torch.Tensor]) -> None:
    import struct

    server = StoreServer(MemoryStore(*packed))
    for request in ((0, 99, 0, 10), (0, 0, -4, 10), (0, 0, 0, 1 << 40), (-7, 0, 0, 10)):
        client = TcpStore(*server.address)
        client._connection.sendall(struct.pack("<iiqq", *request))
        assert client._connection.recv(1) == b"", "the server closes"
        client.close()
    server.close()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"config": {"layers": -1}, "checksums": []}', b"\xff"])
def test_a_manifest_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match=r"manifest|layers"):
        Manifest.decode(text)

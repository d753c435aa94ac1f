"""Shaping without privileges: whatever sends, and from whenever, a rank is never faster than its trace."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kimad.launch.backends.pace import PaceShaper
from kimad.launch.sockets import SocketSet
from kimad.launch.truth import HEADER, START_NAME, read_rows, read_truth
from kimad.launch.window import WindowCheck
from kimad.tcp import TcpInfo, read_own
from kimad.trace import parse_link
from tests.launch.programs import kimad, write

pytestmark = [pytest.mark.dist, pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO and pacing need Linux")]


@contextmanager
def stream() -> Iterator[socket.socket]:
    """A connection within this process; what it is sent is read and thrown away."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()

    def drain() -> None:
        while far.recv(1 << 20):
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    for _ in range(20):  # the kernel paces no connection's first ten segments
        near.sendall(b"x")
        time.sleep(0.002)
    try:
        yield near
    finally:
        near.close()
        reader.join()
        far.close()


def fill(sock: socket.socket, until_s: float) -> None:
    sock.settimeout(0.2)
    block = b"x" * (1 << 16)
    while time.monotonic() < until_s:
        try:
            sock.send(block)
        except TimeoutError:
            continue


def test_counters_are_those_of_the_connection() -> None:
    with stream() as sock:
        key = (sock.getsockname()[1], sock.getpeername()[1])
        before = read_own()[key]
        sock.sendall(b"x" * 50_000)
        limit_s = time.monotonic() + 10
        while read_own()[key].bytes_acked < before.bytes_acked + 50_000 and time.monotonic() < limit_s:
            time.sleep(0.01)
        assert read_own()[key].bytes_acked == before.bytes_acked + 50_000
        assert (
            read_own()[key[1], key[0]].bytes_received == before.bytes_acked + 50_000 - 1
        )  # the SYN is acknowledged too
        assert not read_own()[key].sending
        assert key not in read_own(skip_ports=[key[1]])
    assert key not in read_own()


def test_short_answer_of_an_old_kernel_is_an_error() -> None:
    with pytest.raises(OSError, match="100 bytes"):
        TcpInfo.parse(bytes(100))


def test_sockets_are_found_and_let_go() -> None:
    """A duplicate that is kept would hide from the peer that the connection was closed."""
    with ExitStack() as stack:
        stack.enter_context(stream())
        sockets = SocketSet()
        seen = sockets.seen
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        sockets.refresh()
        assert sockets.seen == seen + 2
        near.sendall(b"x" * 1000)
        assert len(far.recv(2000)) == 1000
        sockets.read()
        near.close()
        sockets.refresh()
        far.settimeout(5)
        assert far.recv(1) == b""  # the end of the connection arrives
        assert sockets.acked_bytes >= 1000  # and its bytes stay counted
        far.close()
        sockets.close()
        sockets.close()


def test_descriptors_are_not_leaked() -> None:
    with stream():
        read_own()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            read_own()
            SocketSet().close()
        assert len(os.listdir("/proc/self/fd")) == before


def test_several_sockets_share_one_rate(tmp_path: Path) -> None:
    """Two send from the start, a third one is opened while they do, and then one is alone."""
    link = parse_link("const:100")
    with ExitStack() as stack:
        first, second = (stack.enter_context(stream()) for _ in range(2))
        shaper = PaceShaper(link, tmp_path / "truth.csv", ())
        start_s = time.monotonic() + 0.05
        shaper.start(start_s)
        time.sleep(0.1)
        threads = [threading.Thread(target=fill, args=(s, start_s + 1.5 + i)) for i, s in enumerate((first, second))]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        third = stack.enter_context(stream())
        shaper.settle()
        fill(third, start_s + 1.8)
        stack.enter_context(stream())  # found without being told
        time.sleep(0.2)
        for thread in threads:
            thread.join()
        report = shaper.close()
    assert report is not None
    assert report.failure is None
    assert report.sockets >= 8  # both ends are in this process
    assert report.worst_sent_bytes <= report.worst_allowed_bytes
    assert report.sent_bytes > 0
    assert (tmp_path / "truth.csv").read_text(encoding="utf-8").startswith(HEADER + "\n")
    rows = list(read_rows(tmp_path / "truth.csv"))
    assert len(rows) > 5
    assert all((row.up_mbps, row.down_mbps) == (100, math.inf) for row in rows)
    assert rows[0].start_monotonic_s == pytest.approx(start_s, abs=1e-5)


def test_skipped_ports_are_not_paced(tmp_path: Path) -> None:
    with stream() as sock:
        shaper = PaceShaper(parse_link("const:0"), tmp_path / "truth.csv", [sock.getpeername()[1]])
        shaper.start(time.monotonic())
        time.sleep(0.2)
        sock.sendall(b"x" * 5_000_000)
        report = shaper.close()
    assert report is not None
    assert (report.sockets, report.sent_bytes) == (0, 0)


def test_shaper_that_never_started_has_nothing_to_report(tmp_path: Path) -> None:
    assert PaceShaper(parse_link("const:1"), tmp_path / "truth.csv", ()).close() is None


def test_window_that_is_too_fast_is_seen() -> None:
    check = WindowCheck(parse_link("const:8"))  # 1 MB/s
    for tick in range(1, 400):
        t_s = tick / 100
        check.add(t_s, int(1e6 * t_s) + (600_000 if t_s > 2 else 0), 1)
    assert check.worst is not None
    assert check.worst.share > 1
    assert check.worst.start_s <= 2 <= check.worst.end_s


@pytest.mark.parametrize("objective", ["off", "fixed:float32"])
def test_emulated_link_is_never_faster_than_its_trace(objective: str, tmp_path: Path) -> None:
    """DDP, or Kimad on a new group, and a third group send at once from the start: 36 Mbit a rank, 50 Mbit/s."""
    body = """
    import time
    model = make(512)
    began = time.monotonic()
    group = dist.new_group()
    other = dist.all_reduce(torch.ones(600_000), group=group, async_op=True)
    train(model, 2, 512)
    other.wait()
    dist.barrier()
    sys.stdout.write(f"{time.monotonic() - began}\\n")
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    options = ["--link", "const:50", "--objective", objective, "--out", "out"]
    done = kimad("emulate", "-n", "2", "--backend", "pace", *options, "--", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "backend pace" in done.stderr
    assert "not modelled: latency, loss" in done.stderr
    assert done.stderr.count("kept to the trace") == 2, done.stderr
    payload_bits = 8 * (4 * 600_000 + 2 * 4 * 512 * 514)  # of two ranks, each sends as much as the tensor is large
    for seconds in map(float, done.stdout.split()):
        assert seconds >= 0.9 * payload_bits / 50e6
    for rank in range(2):
        shaping = json.loads((tmp_path / "out" / f"rank{rank}.json").read_text(encoding="utf-8"))["shaping"]
        assert shaping["failure"] is None
        assert shaping["sockets"] >= 2
        assert shaping["worst_sent_bytes"] <= shaping["worst_allowed_bytes"]
        assert shaping["sent_bytes"] * 8 > 0.95 * payload_bits
        last = read_truth(tmp_path / "out")[rank][-1]
        assert last.up_bytes is not None
        assert last.up_bytes <= 1.05 * 50e6 / 8 * last.t_s + 2 * 65536
    starts_s = [rows[0].start_monotonic_s for rows in read_truth(tmp_path / "out").values()]
    assert starts_s[0] == pytest.approx(starts_s[1], abs=1e-5)
    assert float((tmp_path / "out" / START_NAME).read_text()) == pytest.approx(starts_s[0], abs=1e-5)

"""How much of a link's rate TCP gets through the emulated network: one flow, timed where it arrives."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import final

from benchmarks.rows import Row
from kimad.launch.testbed import Player, Testbed, TestbedError, probe, userns
from kimad.launch.testbed.shaping import FRAME_BYTES, Path
from kimad.trace import HostLink, parse_link

PAYLOAD_BYTES = 1448  # of a full frame: MTU 1500, less IP, TCP and its timestamps
POSSIBLE = PAYLOAD_BYTES / FRAME_BYTES  # of the rate
RATES_MBPS = (30.0, 100.0, 330.0, 1000.0)
SINE = "sine:30,330,4"
SINE_PERIOD_S = 4.0
LOW, HIGH = 0.97, 1.01  # of what is possible
SKIP_S = 0.5  # before the window: the flow starts, and the burst is used up
_LIMIT_S = 30.0  # beyond the window: a program that takes longer hangs

_RECEIVER = """
import json, socket, sys, time
skip, seconds, port = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
server = socket.create_server(("0.0.0.0", port)); server.settimeout(20); print("ready", flush=True)
peer, _ = server.accept(); peer.settimeout(20); buffer = bytearray(1 << 18)
peer.recv_into(buffer); begin = time.monotonic() + skip
while (now := time.monotonic()) < begin: peer.recv_into(buffer)
start, count = now, 0
while now < start + seconds: count += peer.recv_into(buffer); now = time.monotonic()
print(json.dumps([start, now, count]))
"""
_SENDER = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20); block = bytes(1 << 16)
try:
    while True: peer.send(block)
except OSError: pass
"""


@final
@dataclass(frozen=True)
class Flow:
    """What arrived in a window."""

    start_s: float  # monotonic clock
    end_s: float
    count_bytes: int  # payload

    @property
    def mbps(self) -> float:
        """Payload, Mbit/s."""
        return 8e-6 * self.count_bytes / (self.end_s - self.start_s)


def flow(bed: Testbed, sender: int, receiver: int, seconds: float, *, skip_s: float = SKIP_S, port: int = 5301) -> Flow:
    """One TCP connection that sends all it can. Raises TestbedError if it cannot be made."""
    listen = [sys.executable, "-c", _RECEIVER, str(skip_s), str(seconds), str(port)]
    with bed.popen(receiver, listen, stdout=subprocess.PIPE, text=True) as into:
        assert into.stdout is not None  # noqa: S101
        if into.stdout.readline().strip() != "ready":
            raise TestbedError("the receiver did not start")
        with bed.popen(sender, [sys.executable, "-c", _SENDER, bed.address(receiver), str(port)]) as out:
            text, _ = into.communicate(timeout=skip_s + seconds + _LIMIT_S)
            out.wait(_LIMIT_S)
    if into.returncode:
        raise TestbedError(f"the receiver ended with exit code {into.returncode}")
    return Flow(*json.loads(text))


def constant_share(mbps: float, seconds: float) -> float:
    """Delivered / possible, on a link of one rate."""
    link = parse_link(f"const:{mbps:g}")
    with Testbed(2) as bed:
        for host in range(2):
            bed.set_rate(host, up_mbps=mbps, down_mbps=mbps)
        share = flow(bed, 0, 1, seconds).mbps / (link.mbps(0) * POSSIBLE)
    _require_silence(bed)
    return share


def traced_share(spec: str, seconds: float) -> float:
    """Delivered / the integral of the trace, less headers."""
    link = parse_link(spec)
    with Testbed(2) as bed:
        player = Player(bed, [HostLink(link, link)] * 2)
        start_s = time.monotonic() + 0.05
        player.start(start_s)
        got = flow(bed, 0, 1, seconds)
        player.stop()
    _require_silence(bed)
    if player.failure is not None:
        raise TestbedError(player.failure)
    due_mbps = link.mean_mbps(got.start_s - start_s, got.end_s - start_s)
    return got.mbps / (due_mbps * POSSIBLE)


def goodput_rows(quick: bool) -> list[Row]:
    """Two rows a rate, and two for the sine. Needs root, or `move_if_needed` before it."""
    runs, seconds = (1, 1.5) if quick else (3, 4.0)
    rows: list[Row] = []
    for mbps in RATES_MBPS:
        shares = [constant_share(mbps, seconds) for _ in range(runs)]
        rows += band(f"goodput / possible, {mbps:g} Mbit/s", shares, f"{seconds:g} s")
    periods = 1 if quick else 2
    shares = [traced_share(SINE, periods * SINE_PERIOD_S) for _ in range(runs)]
    return rows + band(f"goodput / integral, {SINE}", shares, f"{periods} periods")


def band(name: str, shares: list[float], window: str) -> list[Row]:
    """The two rows of one band, of the median."""
    value = statistics.median(shares)
    note = f"{window}; {len(shares)} runs, {min(shares):.4f} to {max(shares):.4f}"
    return [Row(name, value, "", LOW, "higher", note), Row(name, value, "", HIGH, "lower", note)]


def move_if_needed(module: str) -> None:
    """Go on as `python -m MODULE` in a user namespace where this user may make no networks.

    Raises:
        TestbedError: neither is possible here.
    """
    reason = probe.netns(Path())
    if reason is None:
        return
    inner = probe.userns(Path())
    if inner is not None:
        raise TestbedError(f"networks of namespaces cannot be made here: {reason}; in a user namespace: {inner}")
    userns.move(["-m", module, *sys.argv[1:]])


def _require_silence(bed: Testbed) -> None:
    if bed.complaints:
        raise TestbedError(f"tc complained: {bed.complaints}")

"""The emulated network: a namespace a host, joined by a bridge in one more; each link shaped in both directions."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any, final

from kimad.launch.testbed import congestion
from kimad.launch.testbed.counters import Counters, LinkBytes
from kimad.launch.testbed.names import (
    NETNS,
    TestbedError,
    address,
    bridge_name,
    call,
    host_name,
    processes_in,
    require_form,
    tool,
)
from kimad.launch.testbed.owner import Claim
from kimad.launch.testbed.shaping import Path, commands
from kimad.launch.testbed.tc import TcBatch

MAX_HOSTS = 200
DEVICE = "km0"  # of a host
_TERM_GRACE_S = 3.0  # from asking our processes to end until they are killed


@final
class Testbed:
    """Hosts 0 to N - 1. Both ends of every link are born inside our namespaces, which have no route to the outside.

    Rates are those of layer 2, as a switch counts them. Links are without limit until `set_rate`.

        with Testbed(2) as bed:
            bed.set_rate(0, up_mbps=100, down_mbps=100)
            bed.popen(0, ["ping", "-c", "1", bed.address(1)])

    Raises:
        TestbedError: a command failed; nothing is left behind.
    """

    __test__ = False

    def __init__(self, hosts: int, path: Path | None = None, congestion_control: str = congestion.DEFAULT) -> None:
        if not 1 <= hosts <= MAX_HOSTS:
            raise TestbedError(f"{hosts} hosts were asked for; allowed: 1 to {MAX_HOSTS}")
        self.path = path or Path()
        self.hosts = hosts
        self._congestion_control = congestion_control
        self.tag = ""
        self._claim: Claim | None = None
        self._owned: list[str] = []
        self._batches: dict[str, TcBatch] = {}
        self._shaped: set[tuple[str, str]] = set()  # (namespace, device)
        self._counters: Counters | None = None
        self._processes: list[subprocess.Popen[Any]] = []
        self._complaints = ""

    def __enter__(self) -> Testbed:
        atexit.register(self.close)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def address(self, host: int) -> str:
        """The IPv4 address of a host."""
        self._require_host(host)
        return address(host)

    def popen(self, host: int, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on a host; `close` ends it."""
        self._require_host(host)
        name = host_name(self.tag, host)
        self._require_own(name)
        process = subprocess.Popen([tool("ip") or "ip", "netns", "exec", name, *argv], **options)
        self._processes.append(process)
        return process

    def set_rate(self, host: int, *, up_mbps: float, down_mbps: float) -> None:
        """Limit what a host sends and what it receives, Mbit/s. The first time it has taken effect on return."""
        self._require_host(host)
        bridge, name = bridge_name(self.tag), host_name(self.tag, host)
        self._shape(name, DEVICE, up_mbps, delay=True)
        self._shape(bridge, f"p{host}", down_mbps, delay=False)

    def carried(self) -> list[LinkBytes]:
        """What each host's link has carried so far."""
        if self._counters is None:
            raise TestbedError("the emulated network is closed")
        return self._counters.read()

    @property
    def complaints(self) -> str:
        """What tc did not take, or could not be removed; empty if all went well. Complete after `close`."""
        return self._complaints + "".join(batch.errors for batch in self._batches.values())

    def close(self) -> None:
        """End all processes in our namespaces and delete the namespaces. May be called again."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for batch in self._batches.values():
            self._complaints += batch.close()
        self._batches.clear()
        self._shaped.clear()
        end_s = time.monotonic() + _TERM_GRACE_S
        for process in self._processes:
            try:
                process.wait(max(0.0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self._counters is not None:
            self._counters.close()
            self._counters = None
        for name in self._owned[::-1]:
            try:
                remove(name)
                self._owned.remove(name)
            except TestbedError as error:
                self._complaints += f"{error}\n"
        if self._claim is not None and not self._owned:  # otherwise it stays, so that what is left can be found
            self._claim.release()
            self._claim = None
        atexit.unregister(self.close)

    def _open(self) -> None:
        self._claim = Claim()
        self.tag = self._claim.tag
        bridge = bridge_name(self.tag)
        self._create(bridge)
        self._ip(bridge, ["link add br0 type bridge", "link set br0 up"])
        for host in range(self.hosts):
            name = host_name(self.tag, host)
            self._create(name)
            self._ip(
                bridge,
                [
                    f"link add p{host} type veth peer name {DEVICE} netns {name}",
                    f"link set p{host} master br0 up",
                ],
            )
            self._ip(name, [f"addr add {address(host)}/24 dev {DEVICE}", f"link set {DEVICE} up", "link set lo up"])
            congestion.choose(name, self._congestion_control)
        self._counters = Counters(bridge, self.hosts)

    def _create(self, name: str) -> None:
        require_form(name)
        if (NETNS / name).exists():
            raise TestbedError(f"refused: namespace {name} exists already")
        self._owned.append(name)
        call(["ip", "netns", "add", name])
        if os.stat(NETNS / name).st_ino == os.stat("/proc/self/ns/net").st_ino:
            raise TestbedError(f"refused: namespace {name} is the one that this process is in")

    def _ip(self, name: str, lines: Sequence[str]) -> None:
        self._require_own(name)
        call(["ip", "-n", name, "-batch", "-"], given="".join(line + "\n" for line in lines))

    def _shape(self, name: str, device: str, mbps: float, *, delay: bool) -> None:
        self._require_own(name)
        if name not in self._batches:
            self._batches[name] = TcBatch(name)
        first = (name, device) not in self._shaped
        lines = commands(device, mbps, self.path, first=first, delay=delay)
        if first:
            self._batches[name].settle(lines)
            self._shaped.add((name, device))
        else:
            self._batches[name].send(lines)

    def _require_own(self, name: str) -> None:
        if name not in self._owned:
            raise TestbedError(f"refused: {name!r} is not a namespace that this testbed made")

    def _require_host(self, host: int) -> None:
        if not 0 <= host < self.hosts:
            raise TestbedError(f"there is no host {host}; allowed: 0 to {self.hosts - 1}")


def remove(name: str) -> None:
    """Kill every process in a namespace of ours and delete it. Nothing happens if it is gone."""
    require_form(name)
    if not (NETNS / name).exists():
        return
    for pid in processes_in(name):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    call(["ip", "netns", "del", name])

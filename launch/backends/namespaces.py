"""Real TCP between hosts that are network namespaces: what the backends `netns` and `userns` have in common."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO, final

from kimad.launch.backends.backend import Backend, Network, Seat, Shaper, ShapingReport, make_report
from kimad.launch.errors import BackendError
from kimad.launch.job import Job
from kimad.launch.links import links_of
from kimad.launch.testbed import Player, Testbed, congestion
from kimad.launch.testbed.bed import DEVICE, MAX_HOSTS
from kimad.launch.testbed.enter import enter
from kimad.launch.testbed.names import address, host_name
from kimad.launch.testbed.player import Cell
from kimad.launch.testbed.shaping import Path as LinkPath
from kimad.launch.truth import TruthRow, known_start, open_truth, truth_path
from kimad.launch.window import WindowCheck

TAG_VARIABLE = "KIMAD_TESTBED"  # in the workers' environment
_POLL_S = 0.005
_SHAPED_WITHIN_S = 10.0  # of agreeing on the start
_FIRST_PORT = 20_000  # of the store; another one after each restart, since the old one may still be in use
_PORTS = 10_000
_TOLERANCE = 1.02  # on a second's integral of the trace: the burst is 0.4 % of it, and counters are read late
_ALLOWANCE_BYTES = 128 * 1024  # what the kernel hands over at once, twice


@final
class NamespaceBackend(Backend):
    """`probe` says why namespaces cannot be made here, or None; `move` replaces this process by one that can."""

    def __init__(
        self,
        name: str,
        summary: str,
        probe: Callable[[LinkPath], str | None],
        move: Callable[[list[str]], None] | None,
    ) -> None:
        self.nothing = "the links were not started"
        self.name = name
        self.summary = summary
        self._probe = probe
        self._move = move

    def unavailable(self) -> str | None:
        return self._probe(LinkPath())

    def unfit(self, job: Job) -> str | None:
        if job.hosts > MAX_HOSTS:
            return f"it has {MAX_HOSTS} hosts at most"
        known = congestion.allowed()
        if known and job.congestion_control not in known:
            return f"congestion control {job.congestion_control!r} is not allowed here; allowed: {', '.join(known)}"
        path = link_path(job)
        return self._probe(path) if path.needs_netem else None

    def not_modelled(self, job: Job) -> str:
        left_out = [] if link_path(job).latency_s else ["latency"]
        left_out += [] if job.loss_percent else ["loss"]
        return ", ".join([*left_out, "a bottleneck between the hosts' own links"])

    def move(self, argv: list[str]) -> None:
        if self._move is not None:
            self._move(["-m", "kimad.launch", *argv])

    def network(self, job: Job) -> Network:
        return NamespaceNetwork(job)

    def enter(self, job: Job, environment: MutableMapping[str, str]) -> None:
        restarts = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
        environment.update(
            MASTER_ADDR=address(0),
            MASTER_PORT=str(_FIRST_PORT + restarts % _PORTS),
            TORCHELASTIC_USE_AGENT_STORE="False",  # torchrun's is outside: rank 0 opens one
            GLOO_SOCKET_IFNAME=DEVICE,
            TP_SOCKET_IFNAME=DEVICE,
            NCCL_SOCKET_IFNAME=DEVICE,
        )
        enter(host_name(environment[TAG_VARIABLE], int(environment["GROUP_RANK"])))

    def shaper(self, job: Job, seat: Seat) -> Shaper:
        return NamespaceShaper(seat, job.hosts)


@final
class NamespaceShaper(Shaper):
    """The launcher shapes; a worker only waits until it has."""

    def __init__(self, seat: Seat, hosts: int) -> None:
        self._folder = seat.folder
        self._last = hosts - 1
        self._start_s = 0.0

    def start(self, start_monotonic_s: float) -> None:
        self._start_s = start_monotonic_s

    def settle(self) -> None:
        limit_s = max(self._start_s, time.monotonic()) + _SHAPED_WITHIN_S
        while time.monotonic() < self._start_s or not truth_path(self._folder, self._last).exists():
            if time.monotonic() > limit_s:
                raise BackendError(f"the links were not shaped within {_SHAPED_WITHIN_S:g} s; is the launcher alive?")
            time.sleep(_POLL_S)

    def group_made(self, group: object, ranks: list[int]) -> object:
        return group

    def close(self) -> ShapingReport | None:
        return None


@final
class NamespaceNetwork(Network):
    """The testbed, the player of the traces, and the account of what they did."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._links = links_of(job)
        self._bed = Testbed(job.hosts, link_path(job), job.congestion_control)
        self._player = Player(self._bed, self._links, job.replay_s, self._write)
        self._stop = threading.Event()
        self._waiter: threading.Thread | None = None
        self._stack = ExitStack()
        self._files: list[TextIO] = []
        self._folder = Path()
        self._checks = [
            tuple(WindowCheck(one, _TOLERANCE, _ALLOWANCE_BYTES) for one in (link.up, link.down))
            for link in self._links
        ]
        self._latest: Cell | None = None
        self._failure: str | None = None

    def open(self, folder: Path) -> dict[str, str]:
        self._folder = folder
        self._stack.enter_context(self._bed)
        self._waiter = threading.Thread(target=self._wait, name="kimad-start", daemon=True)
        self._waiter.start()
        # torch warns that the hosts' addresses have no names; they have none, and nothing needs one.
        quiet = {} if "TORCH_CPP_LOG_LEVEL" in os.environ else {"TORCH_CPP_LOG_LEVEL": "ERROR"}
        return {TAG_VARIABLE: self._bed.tag, **quiet}

    def close(self) -> None:
        self._stop.set()
        if self._waiter is not None:
            self._waiter.join()
        self._player.stop()
        self._stack.close()
        for file in self._files:
            file.close()

    def reports(self) -> dict[str, ShapingReport]:
        if self._latest is None:
            return {}
        found = {}
        for host, (carried, checks) in enumerate(zip(self._latest.carried, self._checks, strict=True)):
            for name, count, check in zip(("up", "down"), (carried.up_bytes, carried.down_bytes), checks, strict=True):
                found[f"host {host} {name}"] = make_report(check, self._latest.t_s, count)
        return found

    def failures(self) -> list[str]:
        found = [text for text in (self._failure, self._player.failure) if text is not None]
        if self._bed.complaints:
            found.append(f"the kernel refused: {self._bed.complaints}")
        return found

    def _wait(self) -> None:
        """Start the traces when the ranks have agreed on a moment."""
        try:
            while (start_s := known_start(self._folder)) is None:
                if self._stop.wait(_POLL_S):
                    return
            self._player.start(start_s)
        except Exception as error:  # told by `failures`: this thread has no caller
            self._failure = f"{type(error).__name__}: {error}"

    def _write(self, cell: Cell) -> None:
        """Take down a cell; the files appear with the first one, the last host's last."""
        if not self._files:
            self._files = [open_truth(truth_path(self._folder, host)) for host in range(len(self._links))]
        self._latest = cell
        for host, file in enumerate(self._files):
            carried = cell.carried[host]
            row = TruthRow(
                cell.monotonic_s,
                cell.t_s,
                cell.up_mbps[host],
                cell.down_mbps[host],
                carried.up_bytes,
                carried.down_bytes,
            )
            file.write(f"{row}\n")
            up, down = self._checks[host]
            up.add(cell.t_s, carried.up_bytes)
            down.add(cell.t_s, carried.down_bytes)


def link_path(job: Job) -> LinkPath:
    """Queue, latency and loss of a job's links."""
    return LinkPath(job.queue_ms / 1e3, job.latency_ms / 1e3, job.loss_percent / 100)

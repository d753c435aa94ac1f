"""The `hook` backend: Kimad's own exchange waits as long as the link would take. Works on any system."""

from __future__ import annotations

import threading
import time
from typing import cast, final

import torch.distributed as dist

from kimad.group import Group
from kimad.launch.backends.backend import Backend, Seat, Shaper, ShapingReport
from kimad.launch.job import Job
from kimad.launch.links import links_of
from kimad.launch.truth import TruthRow, open_truth, truth_path
from kimad.launch.virtual import Clocks, VirtualGroup

_LOG_S = 0.05  # between two lines of the truth log


@final
class HookBackend(Backend):
    """A virtual link in each process; see `kimad.launch.virtual`."""

    name = "hook"
    summary = "Kimad's exchange waits as long as the link would take; nothing is really slow"
    nothing = "Kimad was attached to no model; use another --backend for a script with a hook of its own"

    def unavailable(self) -> str | None:
        return None

    def not_modelled(self, job: Job) -> str:
        left_out = "latency, loss, queues, TCP, and all that Kimad does not send (a script's own collectives or hooks)"
        if job.procs_per_host > 1:
            left_out += f", one link for the processes of a host (each has 1/{job.procs_per_host} of it)"
        return left_out

    @property
    def through_kimad(self) -> bool:
        return True

    def shaper(self, job: Job, seat: Seat) -> Shaper:
        return HookShaper(job, seat)


@final
class HookShaper(Shaper):
    """Wraps the groups that Kimad makes; a thread writes the truth log."""

    def __init__(self, job: Job, seat: Seat) -> None:
        self._job = job
        self._seat = seat
        self._clocks: Clocks | None = None
        self._groups = 0
        self._start_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, start_monotonic_s: float) -> None:
        self._start_s = start_monotonic_s
        self._clocks = Clocks(links_of(self._job), self._job.procs_per_host, self._seat.rank, start_monotonic_s)
        if self._seat.local_rank == 0:
            self._thread = threading.Thread(target=self._log, args=(self._clocks,), name="kimad-truth", daemon=True)
            self._thread.start()

    def settle(self) -> None:
        time.sleep(max(0.0, self._start_s - time.monotonic()))

    def group_made(self, group: object, ranks: list[int]) -> object:
        if self._clocks is None or isinstance(group, dist.ProcessGroup):  # the script's own
            return group
        self._groups += 1
        return VirtualGroup(cast(Group, group), self._clocks, ranks)

    def close(self) -> ShapingReport | None:
        if self._clocks is None:
            return None
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        sent = self._clocks.up[self._seat.rank].carried_bytes
        return ShapingReport(self._groups, time.monotonic() - self._start_s, sent, 0.0, 0, 0, 0.0, None)

    def _log(self, clocks: Clocks) -> None:
        self._stop.wait(max(0.0, self._start_s - time.monotonic()))
        link = self._seat.link
        with open_truth(truth_path(self._seat.folder, self._seat.host)) as file:
            while not self._stop.is_set():
                now_s = clocks.now_s()
                carried = clocks.up[self._seat.rank].carried_bytes, clocks.down.carried_bytes
                row = TruthRow(now_s + self._start_s, now_s, link.up.mbps(now_s), link.down.mbps(now_s), *carried)
                file.write(f"{row}\n")
                self._stop.wait(_LOG_S)

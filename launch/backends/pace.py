"""The `pace` backend: the kernel paces the TCP sockets of each worker, so that the rank as a whole keeps to the trace.

No privileges. One thread in each worker sets SO_MAX_PACING_RATE on the process's own sockets.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import final

from kimad.launch.backends.backend import Backend, Seat, Shaper, ShapingReport, make_report
from kimad.launch.groups import warm_up
from kimad.launch.job import Job
from kimad.launch.schedule import Schedule
from kimad.launch.sockets import SocketSet
from kimad.launch.truth import TruthRow, open_truth, truth_path
from kimad.launch.window import WindowCheck
from kimad.tcp import UNLIMITED, Connection, TcpInfo
from kimad.trace import Link, Scale

TICK_S = 0.015  # between two settings of the rates; shorter costs more than 2 % of a core
SCAN_S = 0.035  # between two searches for new sockets: found within 50 ms
LOG_S = 0.05  # between two lines of the truth log
_QUANTUM_SEGMENTS = 2  # what the kernel sends at once, at least
_LIGHT_BYTES = 4096  # a socket with less than this to send takes no share: control messages
_IDLE_WAIT_S = 0.25  # an idle socket is never set so low that its first quantum takes longer


@final
class PaceBackend(Backend):
    """SO_MAX_PACING_RATE on own sockets; see `PaceShaper`."""

    name = "pace"
    summary = "the kernel paces what each rank's own TCP sockets send"
    nothing = "no TCP socket was found; use the gloo backend of torch"

    def unavailable(self) -> str | None:
        return None if sys.platform == "linux" else f"it needs Linux, this is {sys.platform}"

    def not_modelled(self, job: Job) -> str:
        left_out = "latency, loss, a shared bottleneck or queue, a limit on what is received"
        if job.procs_per_host > 1:
            left_out += (
                f", one link for the processes of a host (each has 1/{job.procs_per_host} of it, also inside the host)"
            )
        return f"{left_out}; rates count payload, not frames"

    def shaper(self, job: Job, seat: Seat) -> Shaper:
        truth = truth_path(seat.folder, seat.host) if seat.local_rank == 0 else None
        return PaceShaper(seat.link.up, truth, seat.skip_ports, share=1 / job.procs_per_host)


@final
class PaceShaper(Shaper):
    """Keeps the sum over all sockets of this process to `share` of the trace; those that are sending share it evenly.

    The truth file, if there is one, has the whole link's rate and this process's bytes.
    """

    def __init__(self, link: Link, truth: Path | None, skip_ports: Collection[int], *, share: float = 1.0) -> None:
        self._whole = link
        self._link = link = Scale(share, link) if share < 1 else link
        self._truth = truth
        self._skip_ports = skip_ports
        self._schedule = Schedule(link)
        self._check = WindowCheck(link)
        self._stop = threading.Event()
        self._scan = threading.Event()  # asked for by `settle`
        self._scanned = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_s = 0.0
        self._report: ShapingReport | None = None

    def start(self, start_monotonic_s: float) -> None:
        if self._thread is not None:
            raise RuntimeError("this shaper was started already")
        self._start_s = start_monotonic_s
        self._thread = threading.Thread(target=self._run, name="kimad-pace", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        self._scanned.clear()
        self._scan.set()
        while self._thread is not None and self._thread.is_alive() and not self._scanned.wait(SCAN_S):
            continue

    def group_made(self, group: object, ranks: list[int]) -> object:
        warm_up(group)
        self.settle()
        return group

    def close(self) -> ShapingReport | None:
        if self._thread is None:
            return None
        self._stop.set()
        self._thread.join()
        return self._report

    def _run(self) -> None:
        cpu_start_s = time.thread_time()
        failure: str | None = None
        self._stop.wait(max(0.0, self._start_s - time.monotonic()))
        sockets = SocketSet(self._skip_ports)
        try:
            self._follow(sockets)
        except Exception as error:  # reported by close: this thread has no caller
            failure = f"{type(error).__name__}: {error}"
        finally:
            for connection in sockets.connections:
                try:
                    connection.limit(UNLIMITED)
                except OSError:
                    continue  # closed in between
            seconds = time.monotonic() - self._start_s
            self._report = self._make_report(sockets, seconds, time.thread_time() - cpu_start_s, failure)
            sockets.close()

    def _follow(self, sockets: SocketSet) -> None:
        next_scan_s = next_log_s = 0.0
        sent_bytes = 0
        counts: dict[int, int] = {}
        with nullcontext() if self._truth is None else open_truth(self._truth) as log:
            while not self._stop.is_set():
                now_s = time.monotonic() - self._start_s
                asked = self._scan.is_set()
                if asked or now_s >= next_scan_s:
                    self._scan.clear()
                    sockets.refresh()
                    next_scan_s = now_s + SCAN_S
                readings = sockets.read()
                total_bytes = sockets.acked_bytes
                self._schedule.spend(now_s, max(0, total_bytes - sent_bytes))
                sent_bytes = total_bytes
                sending = {
                    inode
                    for inode, (_, info) in readings.items()
                    if info.notsent_bytes + info.bytes_acked - counts.get(inode, 0) >= _LIGHT_BYTES
                }
                counts = {inode: info.bytes_acked for inode, (_, info) in readings.items()}
                self._set_rates(now_s, readings, sending)
                if asked:
                    self._scanned.set()
                self._check.add(now_s, total_bytes, sockets.seen)
                if log is not None and now_s >= next_log_s:
                    mbps = self._whole.mbps(now_s)
                    log.write(f"{TruthRow(now_s + self._start_s, now_s, mbps, math.inf, total_bytes)}\n")
                    next_log_s = now_s + LOG_S
                time.sleep(TICK_S)  # half the cost of waiting for the event

    def _set_rates(self, now_s: float, readings: dict[int, tuple[Connection, TcpInfo]], sending: set[int]) -> None:
        if not readings:
            return
        quantum_bytes = _QUANTUM_SEGMENTS * max(info.snd_mss_bytes for _, info in readings.values())
        shares = max(1, len(sending))
        rates = self._schedule.rates(now_s, quantum_bytes * shares)
        idle_bps = max(rates.now_bps, quantum_bytes * 8 / _IDLE_WAIT_S) / (len(sending) + 1)
        for inode, (connection, _) in readings.items():
            try:
                if inode not in sending:
                    connection.limit(_bytes_per_s(idle_bps))
                    continue
                # A lower rate holds at once, a higher one only from the next acknowledgement on. So set
                # the one for the next quantum, and then, if it is higher, the one for the quantum after it.
                connection.limit(_bytes_per_s(rates.now_bps / shares))
                if rates.after_bps > 1.02 * rates.now_bps:
                    connection.limit(_bytes_per_s(rates.after_bps / shares))
            except OSError:
                continue  # closed in between

    def _make_report(self, sockets: SocketSet, seconds: float, cpu_s: float, failure: str | None) -> ShapingReport:
        return make_report(
            self._check,
            seconds,
            sockets.acked_bytes,
            sockets=sockets.seen,
            cpu_share=cpu_s / max(seconds, 1e-9),
            failure=failure,
        )


def _bytes_per_s(bps: float) -> int:
    return max(1, int(bps / 8))

"""One worker's run: attaches to the DDP models that the script makes, shapes the link, reports."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.internals import PrefixStore, TCPStore, hook_name, store_of
from kimad.launch.backends.backend import Seat, Shaper
from kimad.launch.backends.registry import BACKENDS
from kimad.launch.groups import on_every_new_group, warm_up
from kimad.launch.job import RECORDS_NAME, WORKLOAD_NAME, Job
from kimad.launch.links import links_of
from kimad.launch.outside import Recorder
from kimad.launch.process import note
from kimad.launch.rank_report import RankReport
from kimad.launch.settings import for_model, parse_settings
from kimad.launch.truth import agree_on_start
from kimad.model import layers_of

log = logging.getLogger("kimad")

_LEAD_S = 0.05  # a host, from agreeing on t = 0 until it comes: its link is given its first rate meanwhile


@final
class Session:
    """Lives as long as the script runs in this process."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._job = job
        self._folder = folder
        self._objective = kimad.parse_objective(job.objective)
        if isinstance(self._objective, kimad.Off) and job.backend and BACKENDS[job.backend].through_kimad:
            self._objective = kimad.parse_objective("fixed:float32")  # the same arithmetic, bit for bit
        self._names: set[str] = set()  # of the parameters of all models so far
        self._states: list[kimad.State] = []
        self._recorder: Recorder | None = None
        self._shaper: Shaper | None = None
        self._restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        self._report = RankReport(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        self._report.write(folder)

    def model_made(self, model: DistributedDataParallel) -> None:
        """The end of a DDP constructor, on every rank of its group."""
        first = self._report.ddp_models == 0
        self._names |= {layer.name for _, layer in layers_of(model)}
        self._update(ddp_models=self._report.ddp_models + 1)
        if model.process_group.size() == 1:
            return
        if self._shaper is None and self._job.backend is not None:
            self._start_shaping(model, self._job.backend)
        if not self._job.attach:
            return
        from kimad.launch import forward  # brings the compiler in, which DDP has done by now

        if self._job.profile_steps:
            if first:
                forward.before_first_training_forward(model, self._profile)
        elif not isinstance(self._objective, kimad.Off):
            forward.before_first_training_forward(model, self._attach)
        elif first:
            if self._report.rank == 0:
                path = self._folder / RECORDS_NAME
                self._recorder = Recorder(model, path, store_ports(), append=self._restarted)
                forward.before_each_training_step(model, self._recorder.mark)
            self._update(attached=1)

    def close(self, error: BaseException | None) -> None:
        """The script is done, or raised `error`. Closes what was opened, lifts the limit, writes the report."""
        name = None if error is None else type(error).__name__
        self._update(ended=True, error=name, ended_s=time.monotonic())  # at once: closing may take a while
        try:
            for state in self._states:
                state.close()
        finally:
            if self._recorder is not None:
                self._recorder.close()
            shaping = self._shaper.close() if self._shaper is not None else None
            self._update(shaping=shaping)

    def _attach(self, model: DistributedDataParallel) -> None:
        own = hook_name(model)
        if model.mixed_precision is not None:
            log.warning("DDP(mixed_precision=...) uses the hook of this model: Kimad leaves it alone")
        elif own is not None:
            log.warning("the script registered %s on this model: Kimad leaves it alone", own)
        else:
            # A second model's records would mix with the first one's.
            out = self._folder if not self._states else self._folder / f"model{len(self._states) + 1}"
            try:
                self._states.append(kimad.attach(model, self._settings(model), out=out))
            except kimad.AttachError as error:  # the same on every rank, before anything was set up
                log.warning("Kimad leaves this model to plain DDP: %s", error)
            self._update(attached=len(self._states))

    def _settings(self, model: DistributedDataParallel) -> kimad.Config:
        given = parse_settings(self._job.objective, self._job.dense, self._job.weight)
        own = {layer.name for _, layer in layers_of(model)}
        return replace(for_model(given, own, self._names), objective=self._objective)

    def _profile(self, model: DistributedDataParallel) -> None:
        from kimad.launch import profiler

        reason = profiler.obstacle(model)
        if reason is not None:
            if self._report.rank == 0:
                note("bench profile", reason)
            raise SystemExit(0)  # an error would have the slower ranks killed; the parent knows by `attached`
        profiler.Profiler(model, self._job.profile_steps, self._folder / WORKLOAD_NAME)
        self._update(attached=1)

    def _start_shaping(self, model: DistributedDataParallel, backend: str) -> None:
        group = model.process_group
        host, local_rank = divmod(self._report.rank, self._job.procs_per_host)
        link = links_of(self._job)[host]
        seat = Seat(self._report.rank, host, local_rank, link, self._folder, store_ports())
        self._shaper = BACKENDS[backend].shaper(self._job, seat)
        warm_up(group)
        dist.barrier(group=group)
        # All ranks are on this machine, so they share the monotonic clock.
        start = torch.zeros(1, dtype=torch.float64, device=next(model.parameters()).device)
        if dist.get_rank(group) == 0:
            start[0] = agree_on_start(self._folder, time.monotonic() + _LEAD_S * self._job.hosts)
        dist.broadcast(start, src=dist.get_global_rank(group, 0), group=group)
        self._shaper.start(start.item())
        self._shaper.settle()
        on_every_new_group(self._shaper.group_made)

    def _update(self, **changes: object) -> None:
        self._report = replace(self._report, **changes)  # type: ignore[arg-type]
        self._report.write(self._folder)


def store_ports() -> frozenset[int]:
    """Ports of the rendezvous store: its traffic is torch's own, and not the training's."""
    ports = {int(text) for text in [os.environ.get("MASTER_PORT", "")] if text.isdecimal()}
    if dist.group.WORLD is not None:
        store = store_of(dist.group.WORLD)
        while isinstance(store, PrefixStore):
            store = store.underlying_store
        if isinstance(store, TCPStore):
            ports.add(store.port)
    return frozenset(ports)

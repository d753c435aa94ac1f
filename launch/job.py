"""What the parent tells its workers, in `config.json` of the run folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

CONFIG_NAME = "config.json"
RECORDS_NAME = "records.jsonl"
SUMMARY_NAME = "summary.json"
WORKLOAD_NAME = "workload.npz"


@final
@dataclass(frozen=True)
class Job:
    """One run: what is run, and how. All fields are as typed on the command line, checked by the parent."""

    objective: str  # as `parse_objective` reads it
    script: str  # path, or module name
    module: bool  # whether `script` is a module name
    arguments: tuple[str, ...]  # of the script
    link: str | None = None  # as `parse_links` reads it; None: the real network
    backend: str | None = None  # how the link is shaped; None: not at all
    world_size: int | None = None  # ranks; None where torchrun finds out
    hosts: int = 1  # of an emulated run
    procs_per_host: int = 1  # of an emulated run
    queue_ms: float = 50.0  # that wait at most in front of an emulated link
    latency_ms: float = 0.0  # one way, of an emulated link
    loss_percent: float = 0.0  # of the frames on an emulated link
    replay_s: float = 0.1  # between two changes of an emulated rate
    congestion_control: str = "reno"  # of TCP, on emulated hosts
    profile_steps: int = 0  # steps that are profiled, instead of having Kimad attached; 0: none
    attach: bool = True  # whether DDP models get Kimad's hook, or a recorder; False: the program needs neither
    dense: tuple[str, ...] = ()  # patterns of the names of layers that always travel whole
    weight: tuple[str, ...] = ()  # PATTERN=W

    def write(self, folder: Path, about: dict[str, Any]) -> Path:
        """Write `config.json`, with `about` (versions and the like) beside the job itself."""
        path = folder / CONFIG_NAME
        path.write_text(json.dumps({**about, "job": asdict(self)}, indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a `config.json`."""
        job = json.loads(path.read_text(encoding="utf-8"))["job"]
        lists = {name: tuple(job.get(name, ())) for name in ("arguments", "dense", "weight")}
        return cls(**{**job, **lists})


def rank_path(folder: Path, rank: int) -> Path:
    """Where a worker leaves its report."""
    return folder / f"rank{rank}.json"

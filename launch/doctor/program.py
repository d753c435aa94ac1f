"""What each rank of the self-test runs: `python -m kimad.launch.doctor.program FOLDER`.

Two small models are trained, one with a fixed option, one with the default. What was found goes to FOLDER.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import kimad
from kimad.files import replacing
from kimad.layout import pack
from kimad.model import layers_of
from kimad.objective import Fixed
from kimad.plan import fixed_plan
from kimad.state import State
from kimad.tcp import read_own

FIXED = "fixed:int8"
OBJECTIVES = (FIXED, "progress")
STEPS = 8  # of each model
TIMEOUT_S, LIMIT_S = 20.0, 60  # of a message; of the whole program, which the system then ends
INPUTS, HIDDEN, OUTPUTS = 256, 512, 100  # below the 1 MiB that DDP fills its first bucket with
MESSAGE_BYTES, MESSAGES = 144, 64  # gloo's header and notes of a message; messages of a step and its plan, at most


@final
@dataclass(frozen=True)
class Trained:
    """One model on one rank."""

    objective: str
    parameters: str  # digest of their bytes
    loss: float  # of the last step
    planned_bytes: int | None  # that this rank should have sent; None where plans are not known beforehand
    recorded_bytes: int  # that it has sent, by its records
    control_bytes: int  # that it has sent to agree on plans
    kernel_bytes: int | None  # all of it, by the sockets' own count; None where the system has none


def main(argv: Sequence[str]) -> None:
    """Train, and write this rank's file."""
    signal.alarm(LIMIT_S)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT_S))
    rank = dist.get_rank()
    found = [train(objective, rank) for objective in OBJECTIVES]
    with replacing(Path(argv[0]) / f"self-test{rank}.json") as part:
        part.write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def train(objective: str, rank: int) -> Trained:
    """A model of its own, with Kimad, for some steps."""
    torch.manual_seed(1)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    before = set(_sockets() or ())
    config = kimad.Config(objective=kimad.parse_objective(objective), outage_timeout_s=TIMEOUT_S)
    state = kimad.attach(model, config)
    own = set(_sockets() or ()) - before
    began_bytes = _sent(own)
    torch.manual_seed(100 + rank)
    loss = math.nan
    for _ in range(STEPS):
        optimizer.zero_grad()
        step_loss = model(torch.randn(16, INPUTS)).square().mean()
        step_loss.backward()
        optimizer.step()
        loss = step_loss.item()
    records = state.records
    dist.barrier()  # everything has been sent
    sent_bytes = _sent(own)
    found = Trained(
        objective,
        digest(model.parameters()),
        loss,
        planned_bytes(model, state),
        sum(record.wire_bytes for record in records),
        sum(record.control_bytes for record in records),
        None if sent_bytes is None or began_bytes is None else sent_bytes - began_bytes,
    )
    state.close()
    return found


def digest(parameters: Iterable[Tensor]) -> str:
    """Of all bits of the parameters, in order."""
    found = hashlib.sha256()
    for parameter in parameters:
        found.update(parameter.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def planned_bytes(model: DistributedDataParallel, state: State) -> int | None:
    """What the plan of a pinned option has this rank send in all steps; the model fills one bucket."""
    objective = state.config.objective
    if not isinstance(objective, Fixed):
        return None
    layers = [layer for _, layer in layers_of(model)]
    return STEPS * fixed_plan(layers, objective).wire_bytes(pack(layers), dist.get_world_size())


def _sockets() -> dict[tuple[int, int], int] | None:
    """Bytes written to each connection of this process; None where the system does not say."""
    try:
        return {key: info.written_bytes for key, info in read_own().items()}
    except OSError:
        return None


def _sent(own: set[tuple[int, int]]) -> int | None:
    counts = _sockets()
    return None if counts is None else sum(count for key, count in counts.items() if key in own)


if __name__ == "__main__":
    main(sys.argv[1:])

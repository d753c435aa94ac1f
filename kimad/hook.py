"""The DDP communication hook: takes a bucket, returns a future of its average.

    gradient ready -> hook -> State.submit -> Loop.average -> Coder.encode -> Exchange.send -> Coder.decode
                   -> future -> DDP -> optimizer

The hook itself only writes down what the bucket is. It never raises, never returns None and never leaves its future
open: DDP's reducer survives none of these. An error is raised to the user at the end of backward.
"""

# No `from __future__ import annotations`: DDP compares the hook's annotations with the real classes.

import time
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from kimad.config import Config
from kimad.errors import AttachError
from kimad.internals import GradBucket, after_backward, hook_name
from kimad.sinks.jsonl import JsonlSink
from kimad.state import State


def attach(
    model: DistributedDataParallel,
    config: Config | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    out: str | Path | None = None,
) -> State:
    """Turn Kimad on for a DDP model; returns the State. Call it on every rank, before training.

    out: a folder; rank 0 appends one JSON line a step to `records.jsonl` in it.
    optimizer: the model's; needed by error_feedback "dgc", which takes its momentum over until the State is closed.
    Raises AttachError for anything but a DDP model without a hook, ConfigError for a setting that cannot be used.
    """
    if not isinstance(model, DistributedDataParallel):
        raise AttachError(
            f"attach needs a DistributedDataParallel model, not {type(model).__name__}; wrap it first: "
            "model = DistributedDataParallel(model)"
        )
    taken = hook_name(model)
    if taken is not None:
        raise AttachError(f"this model has a communication hook already ({taken}), and DDP allows one only")
    state = State(config, optimizer)
    if out is not None and model.process_group.rank() == 0:
        state.sinks.append(JsonlSink(Path(out) / "records.jsonl"))
    state.bind(model)
    if not state.alone:
        model.register_comm_hook(state, hook)
    return state


def hook(state: State, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket's gradients over the ranks, compressed as the plan says.

    Use `kimad.attach(model)`, or in torch's own convention `model.register_comm_hook(state, kimad.hook)`.
    """
    ready_s = time.monotonic()
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    state.submit(bucket, ready_s, done)
    if bucket.is_last():
        _end_of_backward(state)
    return done


def _end_of_backward(state: State) -> None:
    """Have the State look back once DDP has taken over all gradients: a callback of a callback runs after DDP's own."""

    def before_ddp_finishes() -> None:
        state.end_buckets()
        after_backward(state.end_backward)

    try:
        after_backward(before_ddp_finishes)
    except RuntimeError:  # no backward: with `model.join()` a rank without data answers its peers' hooks from outside
        state.end_buckets()
        state.next_step()

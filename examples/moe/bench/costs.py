"""What computing costs on this machine, once measured, for the virtual clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from examples.moe.inference.decode import ROWS, KeyValues, attend, expert_output, next_logits, route
from examples.moe.inference.engine import Costs
from examples.moe.inference.path_model import LearnedPaths, PathModel
from examples.moe.inference.scheduler import SCHEDULES, Paths, schedule
from examples.moe.model import LanguageModel

REPEATS = 15


def cpu_s(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median processor seconds of a call, after one that does not count; other processes do not matter to it."""
    call()
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        call()
        times.append(time.thread_time() - begin)
    return statistics.median(times)


@torch.no_grad()
def measure(model: LanguageModel, experts: Tensor, paths: PathModel, routes: Paths) -> Costs:
    """Costs in the middle of the context, with one thread. routes: paths of the sequences of two batches."""
    batch = len(routes) // 2
    c = model.config
    rows, middle = list(range(batch)), c.context // 2
    x = torch.randn(batch, c.width)
    kv, block = KeyValues(model, batch), model.block(0)
    live = LearnedPaths(paths)
    live.reset(2 * batch)

    def dense() -> None:
        route(block, attend(block, 0, x, rows, [middle] * batch, kv), c.chosen)

    return Costs(
        dense_s=cpu_s(dense),
        expert_s=cpu_s(lambda: expert_output(experts[0], model, x[:ROWS])),
        predict_s=cpu_s(lambda: live.step(rows, rows, [middle] * batch)),
        head_s=cpu_s(lambda: next_logits(model, x)),
        schedule_s={method: cpu_s(partial(schedule, routes, method)) for method in SCHEDULES},
    )

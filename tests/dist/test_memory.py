"""After warm-up the hook allocates nothing of the model's size, by torch's and by numpy's own books.

The hook is called with buckets that stay, without a backward pass: what autograd allocates is not counted.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import kimad
from kimad.executor import Executor
from kimad.internals import GradBucket
from kimad.monitor import LinkSample, LinkSamples
from tests.dist.ranks import Ranks

pytestmark = pytest.mark.torch

WIDTH = 2000
LARGEST_BYTES = 4 * WIDTH * WIDTH
WARM_UP, STEPS = 10, 10
SCRIPTED_BPS = 30e6  # a slow link: "progress" then keeps few entries
ALLOWED_BYTES = LARGEST_BYTES // 2  # O(k) memory of a selection, and pieces that stay in cache


@final
@dataclass(frozen=True)
class FakeBucket:
    """What the hook reads of a bucket."""

    tensor: Tensor
    gradient: Tensor  # what each step writes into it
    members: list[nn.Parameter]
    last: bool

    def buffer(self) -> Tensor:
        return self.tensor

    def parameters(self) -> list[nn.Parameter]:
        return self.members

    def is_last(self) -> bool:
        return self.last


@final
class Allocations(TorchDispatchMode):
    """Sees every operator of the thread that it is entered in; remembers the largest memory that one made anew."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest_bytes = self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.untyped_storage().data_ptr() not in given:
                self.largest_bytes = max(self.largest_bytes, made.untyped_storage().nbytes())
        return result


@final
class Watch:
    """The most memory that one of torch's operators takes in one worker's thread, and the most that numpy holds."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._allocations = Allocations()
        self._held_bytes = 0

    def start(self) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        tracemalloc.reset_peak()
        self._held_bytes = tracemalloc.get_traced_memory()[0]
        self._executor.submit(self._enter)  # a mode is its thread's own
        self._executor.drain()

    def _enter(self) -> None:
        cast(Any, self._allocations).__enter__()

    def _leave(self) -> None:
        cast(Any, self._allocations).__exit__(None, None, None)

    def stop(self) -> tuple[int, int]:
        """Bytes: torch's largest, numpy's most."""
        self._executor.submit(self._leave)
        self._executor.drain()
        # Tracing goes on: stopping it while another thread frees memory ends the process (python/cpython#128679).
        most = tracemalloc.get_traced_memory()[1] - self._held_bytes
        assert self._allocations.operators >= STEPS, "the mode has seen the worker"
        return self._allocations.largest_bytes, most


def one_step(state: kimad.State, buckets: Sequence[FakeBucket], step: int) -> None:
    for bucket in buckets:
        bucket.tensor.copy_(bucket.gradient)
        if step % 2:  # turned, so that residuals do not pile up until most entries are worth sending
            bucket.tensor.neg_()
    futures = [kimad.hook(state, cast(GradBucket, bucket)) for bucket in buckets]
    for future in futures:
        future.wait()
    assert len(state.records) == step + 1  # waits for the worker


def grown(rank: int, objective: str, thread: str, planted: str) -> tuple[int, int]:
    """What torch, in one of the two threads, and numpy allocate in STEPS steps after warm-up."""
    model = nn.Sequential(nn.Linear(WIDTH, 50), nn.Linear(50, WIDTH), nn.Linear(WIDTH, WIDTH))
    ddp = DistributedDataParallel(model)
    for parameter in model.parameters():
        parameter.grad = parameter.detach()  # the hook asks whether there is one
    state = kimad.attach(ddp, kimad.Config(kimad.parse_objective(objective)))
    halves = list(model[2].parameters()), [*model[0].parameters(), *model[1].parameters()]
    torch.manual_seed(rank)
    gradients = [torch.randn(sum(p.numel() for p in members)) for members in halves]
    buckets = [
        FakeBucket(torch.empty_like(gradient), gradient, members, last=members is halves[1])
        for gradient, members in zip(gradients, halves, strict=True)
    ]
    encode = state.loop.feedback.encode

    def wasteful(names: Sequence[str], gradients: Sequence[Tensor], *rest: Any, **how: Any) -> None:
        for gradient in gradients:
            copy: Any = gradient.clone() if planted == "torch" else gradient.numpy().copy()
            assert len(copy) == len(gradient)
        encode(names, gradients, *rest, **how)

    def samples(time_s: float, received: Sequence[Any], collective: Sequence[Any]) -> LinkSamples:
        return LinkSamples.of([LinkSample(time_s, SCRIPTED_BPS, 1 << 20, 0.1) for _ in received])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kimad.observation.link_samples", samples)
        patch.setattr("kimad.unequal.direction_samples", lambda time_s, peers: 2 * (samples(time_s, peers, ()),))
        for step in range(WARM_UP):
            one_step(state, buckets, step)
        if planted:
            patch.setattr(state.loop.feedback, "encode", wasteful)
        watch = Watch(state.loop._coding if thread == "coding" else state.loop._wire)
        watch.start()
        for step in range(WARM_UP, WARM_UP + STEPS):
            one_step(state, buckets, step)
        seen = watch.stop()
    assert sum(record.wire_bytes for record in state.records[WARM_UP:]) > 10_000
    state.close()
    return seen


@pytest.mark.parametrize("thread", ["coding", "wire"])
@pytest.mark.parametrize("objective", ["fixed:topk:0.01", "fixed:int8", "fixed:bf16", "fixed:float32", "progress"])
def test_nothing_of_the_models_size_is_allocated(two_ranks: Ranks, objective: str, thread: str) -> None:
    for by_torch, by_numpy in two_ranks.run(grown, objective, thread, ""):
        assert by_torch < ALLOWED_BYTES, (by_torch, by_numpy)
        assert by_numpy < ALLOWED_BYTES, (by_torch, by_numpy)


@pytest.mark.parametrize("planted", ["torch", "numpy"])
def test_a_copy_of_the_largest_layer_is_seen(two_ranks: Ranks, planted: str) -> None:
    for by_torch, by_numpy in two_ranks.run(grown, "fixed:topk:0.01", "coding", planted):
        assert (by_torch >= LARGEST_BYTES) == (planted == "torch"), (by_torch, by_numpy)
        assert (by_numpy >= LARGEST_BYTES) == (planted == "numpy"), (by_torch, by_numpy)

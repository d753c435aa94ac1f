"""What users and tools rely on: two ways to turn Kimad on, and clear refusals."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, flat, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch

TOPK = kimad.Config(kimad.Fixed("topk", 0.05, "log4"), outage_timeout_s=20)
made_early = kimad.State(TOPK)  # when this module is imported: before a rank has a process group, or a model


def by_hand(rank: int) -> None:
    attached = wrap(Zoo())
    states = [kimad.attach(attached, TOPK), made_early]
    registered, state = wrap(Zoo()), kimad.State(TOPK)
    states.append(state)
    assert state.records == []
    registered.register_comm_hook(state, kimad.hook)
    early = wrap(Zoo())
    early.register_comm_hook(made_early, kimad.hook)
    for model in (attached, registered, early):
        train(model, rank, 5)
        assert same_on_all_ranks(model)
    assert torch.equal(flat(attached), flat(registered))
    assert torch.equal(flat(attached), flat(early))
    assert [len(state.records) for state in states] == [5, 5, 5]
    for state in states:
        state.close()


def test_a_state_registered_by_hand_does_what_attach_does(two_ranks: Ranks) -> None:
    two_ranks.run(by_hand)


def test_ddp_accepts_the_hook_for_what_it_is() -> None:
    signature = inspect.signature(kimad.hook)
    assert signature.parameters["bucket"].annotation is dist.GradBucket  # type: ignore[attr-defined]
    assert signature.return_annotation == torch.futures.Future[torch.Tensor]
    assert kimad.hook.__qualname__ == "hook"


def refusals(rank: int) -> None:
    with pytest.raises(kimad.AttachError, match="Linear"):
        kimad.attach(nn.Linear(2, 2))  # type: ignore[arg-type]
    model = wrap(Zoo())
    state = kimad.attach(model, TOPK)
    with pytest.raises(kimad.AttachError, match="already"):
        kimad.attach(model, TOPK)
    with pytest.raises(kimad.AttachError, match="one State a model"):
        state.bind(wrap(Zoo()))
    with pytest.raises(kimad.ConfigError, match="off"):
        kimad.attach(wrap(Zoo()), kimad.Config(kimad.Off()))
    train(model, rank, 2)  # and nothing of that did any harm
    assert same_on_all_ranks(model)
    state.close()


def test_what_cannot_be_attached_is_refused(two_ranks: Ranks) -> None:
    two_ranks.run(refusals)


def shared_state(rank: int, second_after: int) -> None:
    state = kimad.State(TOPK)
    first, second = wrap(Zoo()), wrap(Zoo())
    first.register_comm_hook(state, kimad.hook)
    train(first, rank, second_after)
    second.register_comm_hook(state, kimad.hook)
    for _ in range(2):  # again and again, not only once
        with pytest.raises(kimad.AttachError, match="one State a model"):
            train(second, rank, 2)
        with pytest.raises(kimad.AttachError, match="one State a model"):
            train(first, rank, 2)
    state.close()


@pytest.mark.parametrize("second_after", [0, 2])
def test_a_state_of_two_models_is_refused(two_ranks: Ranks, second_after: int) -> None:
    two_ranks.run(shared_state, second_after)


ALONE = """
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
import kimad
early = kimad.State()
dist.init_process_group("gloo", init_method="file://{folder}/store", rank=0, world_size=1)
def trained(how):
    torch.manual_seed(0)
    model = DDP(nn.Linear(5, 3))
    if how == "attach":
        state = kimad.attach(model)
    elif how == "hand":
        state = early
        model.register_comm_hook(state, kimad.hook)
    for i in range(3):
        model(torch.ones(2, 5)).sum().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    if how != "plain":
        assert state.alone and state.records == []
        assert state.state_dict()["residual"] == {{}}
        state.close()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])
plain = trained("plain")
assert torch.equal(plain, trained("attach"))
assert torch.equal(plain, trained("hand"))
dist.destroy_process_group()
"""


def test_world_size_1_is_left_alone_with_a_note(tmp_path: Path) -> None:
    code = ALONE.format(folder=tmp_path)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("world size 1") == 2, result.stderr

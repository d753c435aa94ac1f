"""The mixture of experts under DDP, alone and with Kimad: idle experts, checkpoints, ranks that agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import kimad
from examples.moe import train
from examples.moe.config import ModelConfig
from examples.moe.layer import MixtureOfExperts
from tests.dist.ranks import RankError, Ranks
from tests.dist.training import same_on_all_ranks

pytestmark = pytest.mark.dist
ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--layers", "2", "--width", "32", "--heads", "2", "--hidden", "32", "--experts", "8", "--context", "32")
IDLE_STEPS, USED_STEPS = 200, 150


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    started = Ranks(2)
    yield started
    started.close()


def idle_then_used(rank: int, objective: str) -> tuple[float, float, bool]:
    """No token goes to expert 0 for 200 steps, then every one does. Returns its loss before and after, and whether it
    stayed as it was while it was idle."""
    torch.manual_seed(0)
    layer = MixtureOfExperts(ModelConfig(width=16, heads=2, hidden=32, experts=4))
    layer.router.requires_grad_(False)
    target = torch.randn(16, 16) / 4
    ddp = DistributedDataParallel(layer, find_unused_parameters=True, bucket_cap_mb=0.01)
    state = None if objective == "off" else kimad.attach(ddp, kimad.Config(objective=kimad.parse_objective(objective)))
    optimizer = torch.optim.SGD(layer.experts.parameters(), lr=0.05, momentum=0.9)

    def step(number: int, learn: bool = True) -> float:
        x = torch.randn(32, 16, generator=torch.Generator().manual_seed(2 * number + rank))
        x[:, 0] = 1.0
        optimizer.zero_grad()
        loss = (ddp(x)[0] - x @ target).square().mean()
        loss.backward()
        if learn:
            optimizer.step()
        return float(loss)

    layer.router.weight.data[0, 0] = -100.0
    at_first = layer.expert(0).up.weight.detach().clone()
    for number in range(IDLE_STEPS):
        step(number)
    untouched = torch.equal(at_first, layer.expert(0).up.weight)
    layer.router.weight.data[0, 0] = 100.0
    losses = [step(IDLE_STEPS + number) for number in range(USED_STEPS)]
    assert same_on_all_ranks(layer)
    if state is not None:
        owed = state.state_dict()["residual"]
        assert all(torch.isfinite(value).all() for value in owed.values())
        state.close()
    return losses[0], sum(losses[-10:]) / 10, untouched


@pytest.mark.parametrize("objective", ["progress", "fixed:topk:0.05"])
def test_an_expert_that_was_idle_for_200_steps_trains_as_under_ddp(ranks: Ranks, objective: str) -> None:
    plain = ranks.run(idle_then_used, "off")
    ours = ranks.run(idle_then_used, objective)
    for (before, after, still), (plain_before, plain_after, _) in zip(ours, plain, strict=True):
        assert still, "an expert that no rank uses is not stepped"
        assert before == pytest.approx(plain_before, rel=1e-5), "it was not touched"
        assert after < 0.5 * before
        assert after < 1.25 * plain_after + 0.01 * plain_before


def learn(rank: int, *words: str) -> list[dict[str, float]]:
    """Train as the script does; the lines of its log."""
    lines: list[dict[str, float]] = []
    train.train(train.parse_arguments([*SIZE, "--batch", "4", *words]), lines.append)
    return lines


def test_a_resumed_run_goes_on_bit_for_bit(ranks: Ranks, tmp_path: Path) -> None:
    words = ("--evaluate-every", "2", "--check-ranks")
    lines = ranks.run(learn, "--steps", "4", *words, "--save", str(tmp_path / "whole.pt"))[0]
    ranks.run(learn, "--steps", "2", *words, "--save", str(tmp_path / "half.pt"))
    rest = ("--resume", str(tmp_path / "half.pt"), "--save", str(tmp_path / "rest.pt"))
    later = ranks.run(learn, "--steps", "4", *words, *rest)[0]
    a = torch.load(tmp_path / "whole.pt", weights_only=True)["model"]
    b = torch.load(tmp_path / "rest.pt", weights_only=True)["model"]
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["loss"] for line in later] == [line["loss"] for line in lines[2:]]
    assert [line.get("validation") for line in later] == [line.get("validation") for line in lines[2:]]
    assert ["validation" in line for line in lines] == [False, True, False, True]


def test_a_checkpoint_of_another_size_is_refused(ranks: Ranks, tmp_path: Path) -> None:
    ranks.run(learn, "--steps", "1", "--save", str(tmp_path / "model.pt"))
    with pytest.raises(RankError, match="is of another size"):
        ranks.run(learn, "--steps", "2", "--experts", "4", "--resume", str(tmp_path / "model.pt"))


def test_a_batch_that_the_ranks_cannot_share_is_refused(ranks: Ranks) -> None:
    with pytest.raises(RankError, match="--batch is 3; allowed: a multiple of the 2 ranks"):
        ranks.run(learn, "--steps", "1", "--batch", "3")


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    return subprocess.run(
        [*command, str(ROOT / "examples/moe/train.py"), *SIZE, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip


def test_the_script_runs_by_itself(tmp_path: Path) -> None:
    done = torchrun("--steps", "2", "--batch", "4", "--log-file", str(tmp_path / "log.jsonl"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    done = torchrun("--steps", "1", "--text", str(tmp_path / "none"))
    assert done.returncode != 0
    assert "train.py: text" in done.stderr
    assert "no such file or folder" in done.stderr
    assert "exitcode  : 2" in done.stderr

"""A State's life: its first step, its sinks, saving and loading, closing, and another one after it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, final

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, batch, flat, same_on_all_ranks, train, wrap

pytestmark = pytest.mark.torch

TOPK = kimad.Config(kimad.Fixed("topk", 0.05, "log4"), outage_timeout_s=20)


def first_steps(rank: int, options: dict[str, Any], objective: str) -> None:
    model = wrap(Zoo(), **options)
    config = kimad.Config(kimad.parse_objective(objective), cold_start_bytes=300_000)
    state = kimad.attach(model, config)
    layouts: list[int] = []
    train(model, rank, 4, after=lambda _: layouts.append(len(state.records) and len(state.loop._buckets)))
    first, *others = state.records
    assert layouts[0] == 1
    assert layouts[-1] > 1, "DDP has rebuilt its buckets"
    assert first.wire_bytes > 16 << 10, "enough bytes to measure something"
    assert first.link.samples_bps == (None,) * state.loop.world_size
    assert first.link.mean_bps is None
    assert None not in others[0].link.samples_bps
    memories = (state.loop._exchange._memory, state.loop._coder._memory)
    held = sum(buffer.numel() for memory in memories for buffer in memory._held.values())
    if objective == "fixed:int8":  # frames of one size in every step: once as sent, and the largest as received
        assert held < 2.2 * others[-1].wire_bytes, "and no memory is kept for a bucket that comes no more"
    state.close()


@pytest.mark.parametrize("objective", ["fixed:int8", "fixed:float32", "progress"])
@pytest.mark.parametrize("options", [{}, {"static_graph": True}])
def test_the_first_step_measures_no_link(two_ranks: Ranks, options: dict[str, Any], objective: str) -> None:
    two_ranks.run(first_steps, options, objective)


def closed_and_again(rank: int) -> None:
    results = []
    for _ in range(3):
        model = wrap(Zoo())
        state = kimad.attach(model, TOPK)
        train(model, rank, 5)
        assert same_on_all_ranks(model)
        assert len(state.records) == 5
        state.close()
        state.close()
        assert len(state.records) == 5, "records outlive the State"
        assert state.state_dict()["residual"]
        results.append(flat(model))
    assert all(torch.equal(result, results[0]) for result in results)


def test_a_closed_state_makes_room_for_the_next(two_ranks: Ranks, three_ranks: Ranks) -> None:
    two_ranks.run(closed_and_again)
    three_ranks.run(closed_and_again)


def used_after_close(rank: int) -> None:
    model = wrap(Zoo())
    state = kimad.attach(model, TOPK)
    train(model, rank, 2)
    before = flat(model)
    state.close()
    for _ in range(2):  # again and again: DDP's reducer must have survived the first
        with pytest.raises(kimad.KimadError, match="closed"):
            train(model, rank, 1)
    assert torch.equal(flat(model), before)


def test_training_on_after_close_is_an_error(two_ranks: Ranks) -> None:
    two_ranks.run(used_after_close)


def step_with(model: DistributedDataParallel, optimizer: torch.optim.Optimizer, rank: int, step: int) -> None:
    optimizer.zero_grad()
    model(batch(rank, step)).pow(2).mean().backward()
    optimizer.step()


def resumed(rank: int, values: str, load_first: bool) -> None:
    """20 steps, and 10 steps, a checkpoint through a file, 10 more: the same bits."""
    config = kimad.Config(kimad.Fixed("topk", 0.02, values))

    def fresh() -> tuple[DistributedDataParallel, torch.optim.Optimizer]:
        model = wrap(Zoo())
        parameters = [p for p in model.parameters() if p.requires_grad]
        return model, torch.optim.SGD(parameters, lr=0.02, momentum=0.9)

    model, optimizer = fresh()
    state = kimad.attach(model, config)
    for step in range(20):
        step_with(model, optimizer, rank, step)
    whole, whole_residual = flat(model), state.state_dict()["residual"]
    state.close()

    model, optimizer = fresh()
    state = kimad.attach(model, config)
    for step in range(10):
        step_with(model, optimizer, rank, step)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "kimad": state.state_dict()}, file)
    state.close()
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    model, optimizer = fresh()
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    if load_first:
        state = kimad.State(config)
        state.load_state_dict(saved["kimad"])
        assert set(state.state_dict()["residual"]) == set(saved["kimad"]["residual"])
        model.register_comm_hook(state, kimad.hook)
    else:
        state = kimad.attach(model, config)
        state.load_state_dict(saved["kimad"])
    for step in range(10, 20):
        step_with(model, optimizer, rank, step)
    assert torch.equal(flat(model), whole)
    residual = state.state_dict()["residual"]
    assert set(residual) == set(whole_residual)
    assert all(torch.equal(residual[name], whole_residual[name]) for name in residual)
    forgetful = {**saved["kimad"], "residual": {}}
    state.load_state_dict(forgetful)
    assert state.state_dict()["residual"] == {}
    state.close()


@pytest.mark.parametrize("load_first", [False, True])
@pytest.mark.parametrize("values", ["log4", "float32"])
def test_a_resumed_run_goes_on_bit_for_bit(two_ranks: Ranks, values: str, load_first: bool) -> None:
    two_ranks.run(resumed, values, load_first)


@final
class Collector:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.got: list[kimad.StepRecord] = []
        self.closed = 0

    def log(self, record: kimad.StepRecord) -> None:
        self.got.append(record)

    def close(self) -> None:
        self.closed += 1


def sunk(rank: int, folder: Path) -> None:
    model = wrap(Zoo())
    config = kimad.Config(kimad.Progress(), cold_start_bytes=20_000, records=5)
    state = kimad.attach(model, config, out=folder)
    sinks = [Collector(), Collector()]
    state.sinks.extend(sinks)
    train(model, rank, 12)
    state.close()
    assert [r.step for r in sinks[0].got] == list(range(12))
    assert sinks[0].got == sinks[1].got
    assert sinks[0].got[-5:] == state.records, "the State itself keeps the latest"
    assert [sink.closed for sink in sinks] == [1, 1]
    if rank == 0:
        lines = (folder / "records.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(12))
        assert json.loads(lines[-1])["wire_bytes"] == sinks[0].got[-1].wire_bytes


def test_sinks_receive_every_record(two_ranks: Ranks, tmp_path: Path) -> None:
    two_ranks.run(sunk, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["records.jsonl"], "rank 0 alone writes"

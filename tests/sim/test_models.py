"""Models known by name have the shapes of the real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.resnet.model import ResNet18
from kimad.sim import SimulationError
from kimad.sim.models import MODELS, pack_buckets

ROOT = Path(__file__).resolve().parents[2]


def test_resnet18_is_the_example() -> None:
    real = [(name, tuple(p.shape)) for name, p in ResNet18().named_parameters()]
    assert [(layer.name, layer.shape) for layer in MODELS["resnet18"]().workload("resnet18").layers] == real


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("resnet18", 62, 11_173_962),
        ("resnet50", 161, 25_557_032),
        ("gpt2", 148, 124_439_808),
        ("moe-small", 250, 26_956_288),
    ],
)
def test_sizes(name: str, layers: int, parameters: int) -> None:
    workload = MODELS[name]().workload(name)
    assert len(workload.layers) == layers
    assert sum(layer.numel for layer in workload.layers) == parameters
    assert len({layer.name for layer in workload.layers}) == layers


def test_buckets_are_those_of_ddp() -> None:
    """Five, fifteen and forty-two layers; tests/dist/test_profiler.py compares them with DDP's own."""
    workload = MODELS["resnet18"]().workload("resnet18")
    assert [len(bucket) for bucket in workload.buckets] == [5, 15, 42]
    assert [i for bucket in workload.buckets for i in bucket] == list(range(61, -1, -1))
    assert pack_buckets(workload.layers[:1]) == ((0,),)


@pytest.mark.parametrize("name", list(MODELS))
def test_buckets_become_ready_one_after_the_other(name: str) -> None:
    workload = MODELS[name]().workload(name, compute_s=2.0, spread=0.0)
    ready_s = workload.ready_s[0, 0]
    assert (np.diff(ready_s) > 0).all()
    assert 2 / 3 < ready_s[0] < ready_s[-1] <= 2.0
    assert ready_s[-1] == pytest.approx(2.0, rel=0.05)


def test_work_of_a_tied_output_comes_first_in_backward() -> None:
    """GPT-2's output is 31 % of its multiplications, and its gradient the last to be ready."""
    workload = MODELS["gpt2"]().workload("gpt2", compute_s=3.0, spread=0.0)
    first, last = workload.ready_s[0, 0, [0, -1]]
    assert first > 1.0 + 2.0 * 0.30  # forward, then the output's share of backward
    assert last == pytest.approx(3.0)
    assert 0 in workload.buckets[-1]


def energy_share(samples: NDArray[np.float32], density: float) -> float:
    """Of the largest entries of each snapshot; mean over the snapshots."""
    energy = np.sort(samples.astype(np.float64) ** 2, axis=1)[:, ::-1]
    return float((energy[:, : round(density * energy.shape[1])].sum(axis=1) / energy.sum(axis=1)).mean())


def test_gradients_are_as_heavy_tailed_as_measured() -> None:
    """Bands: steps 5 to 60 of a ResNet-18 on digits, 32 images a worker; the median layer, and the model."""
    workload = MODELS["resnet18"]().workload("resnet18")
    large = [s for layer, s in zip(workload.layers, workload.gradients, strict=True) if layer.numel > 4096]
    assert 0.10 < np.median([energy_share(s, 0.01) for s in large]) < 0.18
    assert 0.48 < np.median([energy_share(s, 0.1) for s in large]) < 0.60
    weights = [
        np.full(s.shape[1], la.numel / s.shape[1]) for la, s in zip(workload.layers, workload.gradients, strict=True)
    ]
    energy, weight = np.concatenate([s[0].astype(np.float64) ** 2 for s in workload.gradients]), np.concatenate(weights)
    order = np.argsort(-energy)
    entries, kept = np.cumsum(weight[order]) / weight.sum(), np.cumsum((energy * weight)[order]) / (energy @ weight)
    assert 0.35 < np.interp(0.01, entries, kept) < 0.55
    assert 0.75 < np.interp(0.1, entries, kept) < 0.88


def test_spread_is_that_of_the_logarithm() -> None:
    times = MODELS["resnet50"]().workload("x", spread=0.2).ready_s[:, 0, -1]
    assert np.log(times).std() == pytest.approx(0.2, abs=0.1)


def test_a_rare_expert_has_exact_zeros_at_times() -> None:
    workload = MODELS["moe-small"]().workload("moe-small")
    by_name = dict(zip((layer.name for layer in workload.layers), workload.gradients, strict=True))
    rare = np.stack([by_name[f"blocks.{b}.experts.7.up.weight"] for b in range(6)])
    assert 0 < (rare == 0).all(axis=2).mean() < 1
    assert (by_name["blocks.0.experts.0.up.weight"] != 0).any(axis=1).all()


@pytest.mark.parametrize(
    ("compute_s", "spread"), [(0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1.0, -0.1), (1.0, 9.0)]
)
def test_times_must_make_sense(compute_s: float, spread: float) -> None:
    with pytest.raises(SimulationError):
        MODELS["resnet18"]().workload("x", compute_s, spread)


def test_output_does_not_depend_on_the_hash_seed() -> None:
    command = [sys.executable, "-m", "kimad.launch", "simulate", "--model", "moe-small", "--link", "walk:30,330,40"]
    outputs = [
        subprocess.run(
            [*command, "-n", "3", "--steps", "12", "--json"], cwd=ROOT, capture_output=True, timeout=50, check=True,
            env={"PATH": "", "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert b"mean_step_s" in outputs[0]

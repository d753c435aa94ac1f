"""What is owed while training is simulated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kimad.compressors import Option
from kimad.plan import FLOAT32, Plan
from kimad.sim.gradients import Owed, _steady_and_noise
from tests.sim.cases import workload


def owed(seed: int = 0) -> Owed:
    return Owed(workload(), np.random.default_rng(seed))


def plan(option: Option) -> Plan:
    return Plan(0, {layer.name: option for layer in workload().layers})


def test_noise_alone_has_no_steady_part() -> None:
    random = np.random.default_rng(1)
    noise = random.standard_normal((8, 50, 256)).astype(np.float32)
    steady, rest = _steady_and_noise(noise)
    assert (steady**2).sum() < 0.02 * (noise**2).sum() / 8
    assert (rest**2).sum() == pytest.approx((noise**2).sum(), rel=0.02)


def test_a_steady_part_is_found_and_energy_is_kept() -> None:
    random = np.random.default_rng(2)
    same = 0.5 * random.standard_normal((1, 40, 256))
    snapshots = (same + random.standard_normal((8, 40, 256))).astype(np.float32)
    steady, rest = _steady_and_noise(snapshots)
    assert (steady**2).sum() == pytest.approx((same**2).sum(), rel=0.1)
    together = (steady**2).sum() + (rest**2).sum(axis=(1, 2)).mean()
    assert together == pytest.approx((snapshots**2).sum(axis=(1, 2)).mean(), rel=1e-3)


def test_what_is_dropped_stays_and_what_is_sent_goes() -> None:
    mine = owed()
    mine.next_step()
    before = mine.energy()[:, -1].sum()
    assert mine.send(plan(Option("drop"))) == 0
    mine.next_step()
    assert mine.energy()[:, -1].sum() > 1.5 * before, "two steps' gradients"
    assert mine.send(plan(FLOAT32)) == 1
    mine.next_step()
    assert mine.energy()[:, -1].sum() == pytest.approx(before, rel=0.5)


def test_top_k_sends_the_largest() -> None:
    mine = owed()
    mine.next_step()
    layers = workload().layers
    options = {la.name: Option("topk", max(1, la.numel // 10), "float32") for la in layers}
    curve = mine.energy()
    kept = mine.send(Plan(0, options))
    tenth = np.array([np.interp(0.1, np.geomspace(2e-5, 1.0, 48), row) for row in curve])
    assert kept == pytest.approx(tenth.sum() / curve[:, -1].sum(), abs=0.05)


def test_one_snapshot_is_all_noise() -> None:
    single = dataclasses.replace(workload(), gradients=tuple(g[:1] for g in workload().gradients))
    mine = Owed(single, np.random.default_rng(0))
    mine.next_step()
    assert mine.energy()[:, -1].sum() > 0

"""The link rate above which plain DDP is better, against whole simulated runs on both sides of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kimad.cost import start_s
from kimad.plan import BFLOAT16
from kimad.sim import Scenario, Workload, break_even, simulate
from kimad.statistics import OPERATORS
from kimad.trace import Const
from tests.sim.cases import same_for_all, workload

STEADY = workload(spread=0.0)


def bps_of(model: Workload, workers: int = 2) -> float:
    found = break_even(model, workers)
    assert found.bps is not None
    assert (found.workers, found.never_compress) == (workers, False)
    assert found.compute_s == pytest.approx(float(model.ready_s[:, :, -1].mean()))
    return found.bps


@pytest.mark.parametrize("workers", [2, 4])
def test_a_run_compresses_below_it_and_not_above(workers: int) -> None:
    """On links of half and of twice that rate: fewer bytes and more progress, and the very bytes of plain DDP."""
    bps = bps_of(STEADY, workers)

    def run(share: float, strategy: str) -> tuple[float, float]:
        links = same_for_all(Const(share * bps / 1e6), workers)
        result = simulate(Scenario(STEADY, links, 30, exchange="all-gather", header_share=1.0), strategy)
        late = slice(10, None)
        return float(result.wire_bytes[late].mean()), float((np.sqrt(result.kept) / result.step_s)[late].mean())

    below, dense_below = run(0.5, "kimad"), run(0.5, "ddp")
    assert below[0] < 0.9 * dense_below[0]
    assert below[1] > dense_below[1]
    assert run(2.0, "kimad")[0] == run(2.0, "ddp")[0]


def test_it_falls_as_coding_takes_longer() -> None:
    """What is saved on the link is bytes / rate, what it costs is coding: the rate at which both are equal."""
    bps = [bps_of(replace(STEADY, coding=dict.fromkeys(OPERATORS, factor))) for factor in (1.0, 2.0, 4.0)]
    assert bps[0] == pytest.approx(2 * bps[1], rel=0.25)
    assert bps[1] == pytest.approx(2 * bps[2], rel=0.25)


def test_the_link_saves_what_coding_costs() -> None:
    """Of the last bucket half the bytes, by bfloat16; sending the others is hidden, but coding them is not."""
    last = 3 * 100_000 + 3 * 64
    saved_bits, coding_s = 8 * 2 * last, start_s(BFLOAT16, last)
    assert 0.4 * saved_bits / coding_s < bps_of(STEADY) < 1.6 * saved_bits / coding_s


def test_it_is_the_same_each_time() -> None:
    assert break_even(STEADY, 2) == break_even(STEADY, 2)

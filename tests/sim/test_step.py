"""The order of events in a step, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kimad.monitor import FIRST_PIECE_BYTES
from kimad.sim.links import Links
from kimad.sim.step import Load, run_step
from kimad.trace import Const, HostLink


def links(mbps: float = 80.0, workers: int = 2) -> Links:
    return Links([HostLink(Const(mbps), Const(mbps))] * workers)


def test_buckets_queue_for_the_link() -> None:
    """1 MB takes 0.1 s. The second bucket is ready while the first is on the way, the third long after."""
    computing_s = np.array([[0.2, 0.25, 1.0]] * 2)
    times = run_step(np.zeros(2), computing_s, [Load(1e6, 0, 0, 0, 0)] * 3, links(), 1.0)
    assert times.end_s == pytest.approx([1.1, 1.1])
    assert times.wire_s == pytest.approx(0.3)
    assert times.collective == pytest.approx(np.array([[3e6, 0.3]] * 2)), "one at a time"


def test_coding_delays_what_comes_after_it() -> None:
    loads = [Load(1e6, 1, 0.02, 0.01, 0.0)] * 2
    times = run_step(np.zeros(2), np.array([[0.2, 0.2]] * 2), loads, links(), 1.0)
    # encoded at 0.22 and 0.24; on the wire 0.22..0.32, 0.33..0.43
    assert times.ready_s[0] == pytest.approx([0.2, 0.22])
    assert times.end_s == pytest.approx([0.44, 0.44])


def test_coding_beside_computing_delays_it_and_is_slow() -> None:
    loads = [Load(1e6, 1, 0.02, 0.01, 0.0)] * 2
    times = run_step(np.zeros(2), np.array([[0.2, 1.0]] * 2), loads, links(), 1.0)
    # the first one is encoded at 0.24 and arrives at 0.34; encoding and decoding it take 0.03 s from computing
    assert times.ready_s[0] == pytest.approx([0.2, 1.03])
    assert times.end_s == pytest.approx([1.16, 1.16])


def test_decoding_that_comes_later_takes_nothing_from_computing() -> None:
    loads = [Load(1e7, 1, 0.0, 0.01, 0.0), Load(1e6, 1, 0.0, 0.01, 0.0)]
    times = run_step(np.zeros(2), np.array([[0.2, 1.0]] * 2), loads, links(), 1.0)
    assert times.ready_s[0] == pytest.approx([0.2, 1.0])
    assert times.end_s == pytest.approx([1.32, 1.32]), "0.2 + 1.0 on the wire, 0.01, then 0.1 and 0.01"


def test_everybody_waits_for_the_last() -> None:
    computing_s = np.array([[0.2], [0.9], [0.2]])
    times = run_step(np.zeros(3), computing_s, [Load(1e6, 2, 0, 0, 0)], links(workers=3), 1.0)
    assert times.end_s == pytest.approx([1.0] * 3)
    assert times.received[:, 1] == pytest.approx([0.1 * (1 - 2 * FIRST_PIECE_BYTES / 1e6)] * 3), "and not the waiting"


def test_latency_and_headers_are_added() -> None:
    times = run_step(np.zeros(2), np.array([[0.5]] * 2), [Load(1e6, 1, 0, 0, 0.04)], links(), 1.05)
    assert times.end_s == pytest.approx([0.5 + 0.105 + 0.04] * 2)


def test_a_slow_downlink_holds_up_its_own_worker() -> None:
    uneven = Links([HostLink(Const(80), Const(80)), HostLink(Const(80), Const(8))])
    times = run_step(np.zeros(2), np.array([[0.5]] * 2), [Load(1e6, 1, 0, 0, 0)], uneven, 1.0)
    assert times.end_s == pytest.approx([0.6, 1.5])

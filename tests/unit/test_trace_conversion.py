"""From any format to any other: the bytes of a period are the same within one packet."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimad.trace import FORMATS, Steps, read_trace
from kimad.trace.formats.mahimahi import MAX_GAP_MS
from tests.unit.traces import GOLDEN, WRITABLE, golden, made

PACKET_BYTES = 1500

rates = st.one_of(st.just(0.0), st.floats(0, 40), st.sampled_from([0.012, 12.0, 12.5]))
lengths = st.one_of(st.floats(1e-5, 3.0), st.sampled_from([0.0005, 0.001, 0.1, 1.0]))
traces = st.lists(st.tuples(lengths, rates), min_size=1, max_size=8).map(
    lambda rows: Steps.lasting([length for length, _ in rows], [rate for _, rate in rows])
)


def carried_bytes(steps: Steps, periods: int = 1) -> float:
    return steps.mean_mbps(0.0, periods * steps.end_s) * periods * steps.end_s * 1e6 / 8


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", WRITABLE)
@given(steps=traces)
@settings(max_examples=25, derandomize=True, deadline=None)
def test_bytes_in_are_bytes_out(source: str, target: str, steps: Steps) -> None:
    first = FORMATS[source].read(made(source, steps), "first")
    second = FORMATS[target].read(FORMATS[target].write(first), "second")
    allowed = PACKET_BYTES if target == "mahimahi" else 1e-3
    assert abs(carried_bytes(second) - carried_bytes(first)) <= allowed + 1e-3
    assert carried_bytes(second, 6) == pytest.approx(6 * carried_bytes(second), rel=1e-9)
    if target != "mahimahi":
        assert second.end_s == pytest.approx(first.end_s, rel=1e-9, abs=1e-9)
        middle_s = (first.starts_s + first.durations_s / 2).tolist()
        assert [second.mbps(t) for t in middle_s] == pytest.approx(first.rates_mbps.tolist(), rel=1e-9, abs=1e-9)
    else:
        assert abs(second.end_s - first.end_s) <= 0.0010001


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("target", WRITABLE)
def test_golden_files_are_converted(name: str, target: str, tmp_path: Path) -> None:
    form, mean_bps, seconds = GOLDEN[name]
    steps = read_trace(str(golden(name)), form)
    path = tmp_path / "out"
    path.write_text(FORMATS[target].write(steps), encoding="utf-8")
    again = read_trace(str(path))  # recognised
    assert abs(again.mean_mbps(0, again.end_s) * 1e6 * again.end_s - mean_bps * seconds) / 8 <= PACKET_BYTES + 1e-3
    assert FORMATS[target].write(steps) == path.read_text(encoding="utf-8")


def test_mahimahi_is_never_far_ahead_of_its_trace() -> None:
    steps = Steps.lasting([2.0, 3.0, 0.5, 1.0], [10, 0, 200, 3])
    again = FORMATS["mahimahi"].read(FORMATS["mahimahi"].write(steps), "m")
    for t_ms in range(1, 6500, 7):
        ahead = (again.mean_mbps(0, t_ms / 1000) - steps.mean_mbps(0, t_ms / 1000)) * t_ms / 1000 * 1e6 / 8
        assert -2 * PACKET_BYTES < ahead < 30 * PACKET_BYTES
    assert again.mbps(2 + (3 - MAX_GAP_MS / 1000) / 2) == 0


def test_a_dead_trace_stays_dead() -> None:
    dead = Steps.lasting([5.0], [0.0])
    for name in WRITABLE:
        steps = FORMATS[name].read(FORMATS[name].write(dead), name)
        assert carried_bytes(steps) <= PACKET_BYTES + 1e-9
        assert (steps.mbps(2.0), steps.end_s) == (0, 5)

"""A link that became faster is found while frames are small; one that stays the same is not asked all the time."""

from __future__ import annotations

import pytest

from benchmarks.probing import cost_shares, found_after_s


@pytest.mark.parametrize(("entries", "mbps"), [(100_000, 0.5), (100_000, 2.0)])
def test_a_link_ten_times_as_fast_is_seen_soon(entries: int, mbps: float) -> None:
    assert found_after_s(entries, mbps) < 2.0


def test_probes_of_a_constant_link_take_less_than_a_hundredth() -> None:
    time_share, progress_share = cost_shares(100_000, 0.5)
    assert time_share < 0.01
    assert progress_share < 0.01

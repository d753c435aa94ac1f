"""After an outage the forecast is back within two steps."""

from __future__ import annotations

import pytest

from benchmarks.probing import run
from kimad.sim.simulate import HEADER_SHARE

MBPS, EVERY_S, FOR_S = 20.0, 20.0, 6.0


@pytest.mark.parametrize("entries", [100_000, 2_000_000])
def test_the_forecast_is_back_two_steps_after_the_link(entries: int) -> None:
    steps = run(entries, f"outage:{MBPS},{EVERY_S},{FOR_S}", 3 * EVERY_S)
    waited = [i for i, step in enumerate(steps) if step.step_s > FOR_S / 2]
    assert len(waited) == 3, "each outage is waited through in one step"
    for i in waited[:2]:
        assert steps[i].step_s > FOR_S - 1
        assert steps[i + 2].mean_bps == pytest.approx(MBPS * 1e6 / HEADER_SHARE, rel=0.25)

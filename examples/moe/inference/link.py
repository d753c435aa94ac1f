"""The link between store and slots: its rate, what really went over it, and what it will probably do next."""

from __future__ import annotations

import math
import time
from typing import final

from kimad.forecast import make_estimator
from kimad.monitor import LinkSample, LinkSamples
from kimad.trace import Link

HALF_LIFE_S = 5.0  # of a sample's weight in the forecast
LOW_QUANTILE = 0.2  # of the rate, on which prefetching is planned
SAMPLE_BYTES = 1 << 20  # gathered before they count as one sample: single pieces measure the latency


@final
class Meter:
    """Counts bytes, and turns busy time into Kimad's forecast."""

    def __init__(self) -> None:
        self.bytes = 0  # that really moved
        self.busy_s = 0.0
        self._pending_bytes = 0
        self._pending_s = 0.0
        self._estimator = make_estimator("switching", HALF_LIFE_S, LOW_QUANTILE)

    def moved(self, count: int, start_s: float, end_s: float) -> None:
        """`count` bytes arrived between two instants of one clock."""
        self.bytes += count
        self.busy_s += end_s - start_s
        self._pending_bytes += count
        self._pending_s += end_s - start_s
        if self._pending_bytes >= SAMPLE_BYTES and self._pending_s > 0:
            rate_bps = 8 * self._pending_bytes / self._pending_s
            sample = LinkSample(end_s, rate_bps, self._pending_bytes, self._pending_s)
            self._estimator.update(LinkSamples.of([sample]))
            self._pending_bytes, self._pending_s = 0, 0.0

    def low_bps(self, now_s: float) -> float | None:
        """The rate to plan on, in bit/s; None before anything has been measured."""
        forecast = self._estimator.forecast(now_s).slowest()
        return None if forecast is None else forecast.low_bps


@final
class Pacer:
    """Holds a real transfer back to the rate of a link. Without a link nothing is held back."""

    def __init__(self, link: Link | None) -> None:
        self._link = link
        self._start_s = time.monotonic()
        self._free_s = 0.0  # when the link is free, s since the start

    def wait(self, count: int, start_s: float) -> None:
        """Return when `count` bytes that started at `start_s` (monotonic), or after those before them, have arrived."""
        if self._link is None:
            return
        begin_s = max(start_s - self._start_s, self._free_s)
        self._free_s = begin_s + transfer_s(self._link, count, begin_s)
        left_s = self._free_s - (time.monotonic() - self._start_s)
        if left_s > 0:
            time.sleep(left_s)


def transfer_s(link: Link, count: int, start_s: float) -> float:
    """Seconds for a piece of `count` bytes, at the rate that the link has when it starts.

    A link that carries nothing then is looked at again after its resolution.
    """
    waited_s = 0.0
    while not (rate := 1e6 * link.mbps(start_s + waited_s)) > 0:
        waited_s += link.resolution_s if math.isfinite(link.resolution_s) and link.resolution_s > 0 else 0.01
    return waited_s + 8 * count / rate

"""What the models of one process received lately over the same link, and when.

While two models send at once each has a share of the link. To a model's own bytes belong those of the others that
arrived in the same seconds: with them its sample is the link's rate, and its own part of them is its share.

    beside = sum over others' pieces of  bytes · (its seconds inside the model's intervals) / its seconds
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import final

from kimad.monitor import Interval, union

PIECES = 1 << 14  # kept; of more in one step the earliest are forgotten


@final
class Traffic:
    """May be told and asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: deque[tuple[int, int, float, float]] = deque(maxlen=PIECES)  # owner, bytes, start and end

    def arrived(self, owner: int, size: int, start_s: float, end_s: float) -> None:
        """A piece of a model's is there; the seconds are those since the piece before, or since its transfer began."""
        with self._lock:
            self._pieces.append((owner, size, start_s, end_s))

    def beside(self, owner: int, intervals: Iterable[Interval]) -> float:
        """Bytes of all other models that arrived within the union of these intervals."""
        merged = union(intervals)
        if not merged:
            return 0.0
        with self._lock:
            others = [piece for piece in self._pieces if piece[0] != owner and piece[3] > merged[0][0]]
        return sum(size * _inside(start_s, end_s, merged) for _, size, start_s, end_s in others)


def _inside(start_s: float, end_s: float, merged: list[Interval]) -> float:
    """Share of an interval that lies in others; of one without length, 1 or 0."""
    if end_s <= start_s:
        return float(any(first_s <= end_s <= last_s for first_s, last_s in merged))
    common = sum(max(0.0, min(end_s, last_s) - max(start_s, first_s)) for first_s, last_s in merged)
    return common / (end_s - start_s)

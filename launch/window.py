"""Did the bytes that left keep to the trace? Checked over every second, by the kernel's own counters."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import final

from kimad.launch.schedule import capacity_bits
from kimad.trace import Link

WINDOW_S = 1.0
TOLERANCE = 1.05  # on the integral of the trace
ALLOWANCE_BYTES = 64 * 1024  # a socket, or a link: what the kernel sends before it paces


@final
@dataclass(frozen=True)
class Window:
    """One stretch of time: what was sent in it, and what may be sent."""

    start_s: float  # since the start of the trace
    end_s: float
    sent_bytes: int
    allowed_bytes: int  # tolerance x integral of the trace + an allowance a socket

    @property
    def share(self) -> float:
        """Sent / allowed; above 1 the link was faster than its trace."""
        return self.sent_bytes / self.allowed_bytes


@final
class WindowCheck:
    """Takes readings as they come and keeps the worst window of one second (or all, if it was shorter)."""

    def __init__(self, link: Link, tolerance: float = TOLERANCE, allowance_bytes: int = ALLOWANCE_BYTES) -> None:
        self._link = link
        self._tolerance = tolerance
        self._allowance_bytes = allowance_bytes
        self._readings: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._worst: Window | None = None
        self._whole: Window | None = None

    def add(self, t_s: float, total_bytes: int, sockets: int = 1) -> None:
        """Total acknowledged since the start, at `t_s`, over `sockets` connections."""
        self._readings.append((t_s, total_bytes))
        while len(self._readings) > 2 and self._readings[1][0] <= t_s - WINDOW_S:
            self._readings.popleft()
        start_s, start_bytes = self._readings[0]
        allowed_bits = self._tolerance * capacity_bits(self._link, start_s, t_s)
        allowed_bytes = int(allowed_bits / 8) + self._allowance_bytes * max(1, sockets)
        window = Window(start_s, t_s, total_bytes - start_bytes, allowed_bytes)
        if t_s - start_s < WINDOW_S:
            self._whole = window
        elif self._worst is None or window.share > self._worst.share:
            self._worst = window

    @property
    def worst(self) -> Window | None:
        """The window that came nearest to its limit, or went furthest over it."""
        return self._worst or self._whole

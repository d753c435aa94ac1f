"""The links of all workers: when has each of them carried so many bits?

    carried(t) = integral of the rate from 0 to t
    finish(start, bits) = smallest t with carried(t) - carried(start) >= bits

Equal links are kept once, which is exact. Rates are taken as constant within a cell, whose mean they have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.sim.errors import SimulationError
from kimad.trace import HostLink, Link

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FINEST_S, COARSEST_S = 0.02, 1.0  # length of a cell
WINDOW_CELLS = 128  # looked at together
LONGEST_WAIT_S = 86_400.0  # a transfer that takes longer never ends


@final
class Links:
    """Up- and downlinks of W workers, followed forward in time."""

    def __init__(self, hosts: Sequence[HostLink]) -> None:
        rows: dict[Link, int] = {}
        self._up = np.array([rows.setdefault(host.up, len(rows)) for host in hosts])
        self._down = np.array([rows.setdefault(host.down, len(rows)) for host in hosts])
        self._links = list(rows)
        self._cell_s = _cell_s(min(link.resolution_s for link in rows))
        self._first = 0  # number of the first cell of the window
        self._carried = np.zeros((len(rows), 1))  # bits from the window's start to each cell's start
        self._is_up = np.isin(np.arange(len(rows)), self._up)

    def finish(self, start_s: float, bits: float) -> tuple[float, Floats]:
        """When the last uplink, and when each worker's downlink, has carried `bits` that all begin at `start_s`.

        Raises SimulationError for a link that never carries them.
        """
        if bits <= 0:
            return start_s, np.full(len(self._down), start_s)
        end_s = self._ends(start_s, None, np.full(len(self._links), bits))
        return float(end_s[self._is_up].max()), end_s[self._down]

    def finish_each(self, start_s: float, up_bits: Floats, down_bits: Floats) -> tuple[Floats, Floats]:
        """When each worker's uplink, and when its downlink, has carried bits of its own; all begin at `start_s`.

        Raises SimulationError for a link that never carries them.
        """
        end_s = self._ends(start_s, np.concatenate([self._up, self._down]), np.concatenate([up_bits, down_bits]))
        return end_s[: len(self._up)], end_s[len(self._up) :]

    def _ends(self, start_s: float, chosen: Ints | None, bits: Floats) -> Floats:
        """When each of these links, or None: of all, has carried its bits."""
        self._forget_before(start_s)
        rows = np.arange(len(self._links)) if chosen is None else chosen
        target = self._at(start_s)[rows] + bits
        waited_s = WINDOW_CELLS * self._cell_s
        while (self._carried[rows, -1] < target).any():
            if waited_s > LONGEST_WAIT_S:
                slow = int(np.argmax(self._carried[rows, -1] < target))
                raise SimulationError(
                    f"link {self._links[rows[slow]]} does not carry {bits[slow] / 8:.0f} bytes within "
                    f"{LONGEST_WAIT_S / 3600:.0f} hours from {start_s:.1f} s on; give a link that carries something"
                )
            self._extend()
            waited_s += WINDOW_CELLS * self._cell_s
        carried = self._carried if chosen is None else self._carried[rows]
        right = (carried < target[:, None]).sum(axis=1)  # the first cell border at or behind the target
        rows = np.arange(len(rows))
        before, after = carried[rows, right - 1], carried[rows, right]
        share = np.where(after > before, (target - before) / np.where(after > before, after - before, 1.0), 0.0)
        ends: Floats = np.maximum((self._first + right - 1 + share) * self._cell_s, start_s)
        return ends

    def _at(self, t_s: float) -> Floats:
        place = max(0.0, t_s / self._cell_s - self._first)
        while self._carried.shape[1] < place + 2:
            self._extend()
        cell = int(place)
        left, right = self._carried[:, cell], self._carried[:, cell + 1]
        found: Floats = left + (place - cell) * (right - left)
        return found

    def _extend(self) -> None:
        start = self._first + self._carried.shape[1] - 1
        step_s = self._cell_s
        means = np.stack([link.means(start * step_s, step_s, WINDOW_CELLS) for link in self._links])
        more = self._carried[:, -1:] + np.cumsum(means * (1e6 * step_s), axis=1)
        self._carried = np.concatenate([self._carried, more], axis=1)

    def _forget_before(self, t_s: float) -> None:
        passed = math.floor(t_s / self._cell_s) - self._first
        if passed > 2 * WINDOW_CELLS:
            self._at(t_s)
            self._carried = self._carried[:, passed:] - self._carried[:, passed : passed + 1]
            self._first += passed


def _cell_s(resolution_s: float) -> float:
    """Length of a cell: a whole number of cells to the time within which rates are constant, where it can be."""
    if not math.isfinite(resolution_s):
        return COARSEST_S
    return max(FINEST_S, resolution_s / math.ceil(resolution_s / COARSEST_S))

"""Links made of links: one at another rate, and several one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.trace.limits import MAX_S, MIN_S, LinkError, check_rates, shown, spelled
from kimad.trace.link import Link

PART = "|"  # between the parts of a concat in a spec
_MAX_DEPTH = 8  # of scales in scales


@final
@dataclass(frozen=True)
class Scale(Link):
    """Another link, `factor` times as fast."""

    factor: float  # 0 or more
    link: Link

    def __post_init__(self) -> None:
        check_rates("scale", FACTOR=self.factor)
        depth, inner = 0, self.link
        while isinstance(inner, Scale):
            depth, inner = depth + 1, inner.link
        if depth > _MAX_DEPTH:
            raise LinkError(f"link scale: more than {_MAX_DEPTH} scales in each other; multiply the factors")

    def mbps(self, t_s: float) -> float:
        return self.factor * self.link.mbps(t_s)

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        return self.factor * self.link.mean_mbps(a_s, b_s)

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.factor * self.link.carried_mbit(t_s)

    @property
    def resolution_s(self) -> float:
        return self.link.resolution_s

    @property
    def period_s(self) -> float | None:
        return self.link.period_s

    def for_host(self, index: int) -> Link:
        return Scale(self.factor, self.link.for_host(index))

    def __str__(self) -> str:
        return f"scale:{spelled(self.factor)},{self.link}"


@final
@dataclass(frozen=True)
class Concat(Link):
    """Links one after the other, each for its own seconds and from its own start; then from the first again."""

    parts: tuple[tuple[float, Link], ...]  # seconds, link

    def __post_init__(self) -> None:
        if not self.parts:
            raise LinkError("link concat: it has no parts; at least one is needed")
        for seconds, link in self.parts:
            if not MIN_S <= seconds <= MAX_S:
                raise LinkError(f"link concat: SECONDS is {seconds:g}; it must be from {MIN_S:g} to {MAX_S:g}")
            if isinstance(link, Concat) or PART in str(link):
                raise LinkError(f"link concat: the part {shown(str(link))} is a concat itself; list its parts instead")
        if self._starts_s[-1] > MAX_S:
            raise LinkError(f"link concat: it lasts {self._starts_s[-1]:g} s; it must be at most {MAX_S:g} s")

    @cached_property
    def _starts_s(self) -> NDArray[np.float64]:
        """When each part begins, and when the last ends."""
        return np.concatenate([[0.0], np.cumsum([seconds for seconds, _ in self.parts])])

    @cached_property
    def _carried(self) -> NDArray[np.float64]:
        """Mbit carried before each part, and before the end."""
        return np.concatenate([[0.0], np.cumsum([s * link.mean_mbps(0.0, s) for s, link in self.parts])])

    def _locate(self, t_s: float) -> tuple[int, int, float]:
        """Number of the period, number of the part, and seconds since that part began."""
        end_s = float(self._starts_s[-1])
        turn = math.floor(t_s / end_s)
        phase_s = t_s - turn * end_s
        if phase_s >= end_s:  # by rounding
            turn, phase_s = turn + 1, 0.0
        part = int(np.searchsorted(self._starts_s, max(phase_s, 0.0), side="right")) - 1
        return turn, part, max(phase_s, 0.0) - float(self._starts_s[part])

    def mbps(self, t_s: float) -> float:
        _, part, since_s = self._locate(t_s)
        return self.parts[part][1].mbps(since_s)

    def mean_mbps(self, a_s: float, b_s: float) -> float:
        turn_a, part_a, since_a_s = self._locate(a_s)
        turn_b, part_b, since_b_s = self._locate(b_s)
        seconds_a, link_a = self.parts[part_a]
        if b_s <= a_s or (turn_a, part_a) == (turn_b, part_b):
            return link_a.mean_mbps(since_a_s, max(since_a_s, since_b_s if b_s > a_s else since_a_s))
        rest_s = seconds_a - since_a_s
        turns = turn_b - turn_a
        whole_s = max(0.0, turns * self._starts_s[-1] + self._starts_s[part_b] - self._starts_s[part_a + 1])
        whole_mbit = max(0.0, turns * self._carried[-1] + self._carried[part_b] - self._carried[part_a + 1])
        mbit = rest_s * link_a.mean_mbps(since_a_s, seconds_a) + whole_mbit
        mbit += since_b_s * self.parts[part_b][1].mean_mbps(0.0, since_b_s)
        return float(mbit / (rest_s + whole_s + since_b_s))

    def carried_mbit(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        end_s = self._starts_s[-1]
        turn = np.floor(t_s / end_s)
        phase_s = np.clip(t_s - turn * end_s, 0.0, end_s)
        part = np.minimum(np.searchsorted(self._starts_s, phase_s, side="right") - 1, len(self.parts) - 1)
        carried: NDArray[np.float64] = turn * self._carried[-1] + self._carried[part]
        for index, (_, link) in enumerate(self.parts):
            inside = part == index
            carried[inside] += link.carried_mbit(phase_s[inside] - self._starts_s[index])
        return carried

    @property
    def resolution_s(self) -> float:
        return min(min(seconds, link.resolution_s) for seconds, link in self.parts)

    @property
    def period_s(self) -> float | None:
        return float(self._starts_s[-1])

    def for_host(self, index: int) -> Link:
        return Concat(tuple((seconds, link.for_host(index)) for seconds, link in self.parts))

    def __str__(self) -> str:
        return "concat:" + PART.join(f"{spelled(seconds)},{link}" for seconds, link in self.parts)

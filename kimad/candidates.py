"""Choices of one menu with what each of them comes to, at the menu's link rate and at any other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.objective import Points
from kimad.solver import Choice, all_bucket_sums
from kimad.timeline import finish_s

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Candidates:
    """P choices over B buckets."""

    choices: Sequence[Choice]
    link_s: Floats  # (P, B) at `bps`
    coding_s: Floats  # (P, B)
    error: Floats  # (P,) relative squared error
    ready_s: Floats  # (B,) s from a step's start until each bucket is ready
    bps: float  # bit/s

    @classmethod
    def of(cls, menu: Menu, choices: Sequence[Choice], ready_s: Floats, bps: float) -> Candidates:
        """These choices of a menu made for `bps`."""
        error = np.array([c.error for c in choices]) / max(menu.total, 1e-300)
        return cls(choices, *all_bucket_sums(menu, choices), error, ready_s, bps)

    @property
    def wire_bytes(self) -> Floats:
        """(P,) bytes that a rank sends in a step."""
        total: Floats = self.link_s.sum(axis=1) * self.bps / 8
        return total

    def points(self, bps: float | None = None) -> Points:
        """What an objective sees of them; at another link rate, if one is given."""
        link_s = self.link_s if bps is None else self.link_s * (self.bps / bps)
        step_s = finish_s(self.ready_s, link_s, self.coding_s)
        return Points(step_s, (link_s + self.coding_s).sum(axis=1), self.error, float(self.ready_s[-1]))

    def with_those(self, others: Candidates) -> Candidates:
        """These, and those of another rate's menu; all at the others' rate."""
        link_s = np.concatenate([self.link_s * (self.bps / others.bps), others.link_s])
        coding_s = np.concatenate([self.coding_s, others.coding_s])
        error = np.concatenate([self.error, others.error])
        return Candidates([*self.choices, *others.choices], link_s, coding_s, error, others.ready_s, others.bps)

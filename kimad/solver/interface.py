"""What a solver offers: solve(menu, budget) and the frontier of cost against error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Choice:
    """One plan of a menu, as column numbers."""

    column: Ints  # (L,) column of each layer
    whole: Ints  # (B,) way of a bucket that travels whole, by all-reduce; -1 where its layers go in frames
    k: Ints  # (L,) kept entries; may lie between those of the columns
    cost_s: float  # seconds of coding and sending
    error: float  # squared error
    price: float  # squared error per second at which this is the best choice; nan if not known
    bound: float  # no choice that costs as much, or of `Nested` makes so long a step, has less error; -inf: not known


class Solver(ABC):
    """Traces the frontier of a menu."""

    @abstractmethod
    def frontier(self, menu: Menu) -> list[Choice]:
        """Choices from cheap to dear, over the whole range."""

    @abstractmethod
    def between(self, menu: Menu, cheap: Choice, dear: Choice) -> list[Choice]:
        """A finer piece of the frontier, both ends included."""

    @abstractmethod
    def solve(self, menu: Menu, budget_s: float) -> Choice:
        """A choice with cost_s <= budget_s (the cheapest one if none is) and an error as small as can be found."""

    @abstractmethod
    def spend(self, menu: Menu, choice: Choice, step_s: float) -> Choice:
        """A point of the frontier with more sent, as far as its predicted step stays within `step_s`.

        Baselines stay as they are.
        """


def all_bucket_sums(menu: Menu, choices: Sequence[Choice]) -> tuple[Floats, Floats]:
    """(P, B) seconds on the link and (P, B) seconds of coding of each bucket, of P choices."""
    column = np.stack([choice.column for choice in choices])
    k = np.stack([choice.k for choice in choices])
    whole = np.stack([choice.whole for choice in choices])
    rows = np.arange(column.shape[1])
    layer_link_s, layer_coding_s = menu.link_s[rows, column], menu.coding_s[rows, column]
    for p, i in np.argwhere(k != menu.k[rows, column]).tolist():
        layer_link_s[p, i], layer_coding_s[p, i] = menu.seconds(i, int(column[p, i]), int(k[p, i]))
    link_s = np.add.reduceat(layer_link_s, menu.starts, axis=1)
    coding_s = np.add.reduceat(layer_coding_s, menu.starts, axis=1)
    travels, where = whole >= 0, np.arange(len(menu.starts))
    link_s = np.where(travels, menu.whole_link_s[where, whole], link_s)
    coding_s = np.where(travels, menu.whole_coding_s[where, whole], coding_s)
    return link_s, coding_s

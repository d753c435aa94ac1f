"""What a policy decides: which expert leaves for which, and what is loaded ahead of need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Outlook

FREE: Key = (-1, -1)  # take a free slot


class Policy(ABC):
    """Told what happens, asked what to do. It never sees a token, nor anything that is not past or predicted."""

    name: str

    @abstractmethod
    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        """Which of `evictable` leaves for `key`; FREE for one of the `free` slots; None to wait or to do without.

        held: experts that are resident or loading. demand: a layer is waiting for it.
        """

    def used(self, key: Key) -> None:  # noqa: B027 - most policies need some of these, none needs all
        """A token went through it."""

    def loaded(self, key: Key) -> None:  # noqa: B027
        """It has arrived."""

    def enter(self, layer: int) -> None:  # noqa: B027
        """A layer has been routed, and its experts are about to be asked for."""

    def required(self, needed: Collection[Key]) -> Collection[Key]:
        """What must have been resident before the layer is over: more than needed only for whole-layer loading."""
        return needed

    def look(self, outlook: Outlook) -> None:  # noqa: B027
        """Take in what is likely to come."""

    def ahead(self, held: Collection[Key], begun: Mapping[Key, float]) -> Sequence[Key]:
        """What to load while the link has nothing more urgent, the first first. Stands until it is asked again.

        held: experts that are resident. begun: those on their way, and what share of each is missing; what is not
        named again is given up, unless a layer waits for it.
        """
        return ()

"""What the models of one process know together of the network between the same ranks.

A generator and its discriminator, say, are trained by turns over one network. Each by itself would learn it anew, the
small one might send too little to ever measure it, and while both send, each would take what the other leaves it for
the link's rate. So models with the same ranks share, without being told to:

    rates     a sample of any model's step counts for all, and its age for all probes
    traffic   bytes of the others that arrived beside a model's own are part of its sample (`kimad.traffic`)
    steps     a step begins where the latest backward ended, whichever model's it was
    plans     of models trained by turns, each of which plans for the progress of all (`kimad.joint`)

Each plans on its share of the rate: its own part of all that arrives while its own frames do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.config import Config
from kimad.forecast import Forecast, make_estimator
from kimad.joint import Turns
from kimad.monitor import LinkSamples
from kimad.plan import MANY
from kimad.traffic import Traffic

Floats = NDArray[np.float64]

LATE_S = 60.0  # by which a model may tell of a step later than another of a later one
UNMEASURED = 8  # steps without a sample of every direction, after which they are not known any more


@final
class SharedLink:
    """May be told and asked from any thread. A model that shares it with no other makes one for itself."""

    def __init__(self, config: Config, world_size: int) -> None:
        self.models = 0  # that share it now
        self.traffic = Traffic()
        self.turns = Turns()
        self.stepped_s = 0.0  # monotonic, when a backward of any of the models ended
        make = partial(make_estimator, config.forecast, config.half_life_s, config.low_quantile)
        self._lock = threading.Lock()
        self._rates = make(world_size)
        self._up, self._down = (make(world_size if world_size <= MANY else 1) for _ in range(2))
        self._newest_s = -np.inf
        self._unmeasured = UNMEASURED + 1

    def stepped(self) -> float:
        """A backward of one of the models has ended: now, in s of the monotonic clock."""
        self.stepped_s = time.monotonic()
        return self.stepped_s

    def update(self, samples: LinkSamples) -> None:
        """Take in one sample a rank."""
        with self._lock:
            self._rates.update(self._in_order(samples))

    def forecast(self, now_s: float) -> Forecast | None:
        """The forecast of the slowest rank's link, or None until every link has been measured."""
        with self._lock:
            return self._rates.forecast(now_s).slowest()

    @property
    def ignored(self) -> int:
        """Samples that could not be true, so far."""
        return self._rates.ignored

    def update_directions(self, up: LinkSamples, down: LinkSamples) -> bool:
        """Take in one sample of each rank's uplink and downlink; whether there is one of each."""
        measured = bool(up.bytes.all() and down.bytes.all())
        with self._lock:
            self._up.update(self._in_order(up))
            self._down.update(self._in_order(down))
            self._unmeasured = 0 if measured else self._unmeasured + 1
        return measured

    def directions(self, now_s: float) -> tuple[Floats, Floats] | None:
        """(N,) low rates up and (N,) down, in bit/s; None while not all of them are known."""
        with self._lock:
            if self._unmeasured > UNMEASURED:
                return None
            up_bps, down_bps = (one.forecast(now_s).low_bps for one in (self._up, self._down))
        return (up_bps, down_bps) if np.isfinite(up_bps).all() and np.isfinite(down_bps).all() else None

    def _in_order(self, samples: LinkSamples) -> LinkSamples:
        if 0 < self._newest_s - samples.time_s <= LATE_S:
            return replace(samples, time_s=self._newest_s)
        self._newest_s = samples.time_s
        return samples


_links: dict[tuple[object, ...], SharedLink] = {}
_changing = threading.Lock()
_changes = 0


def join(ranks: Sequence[int], config: Config) -> SharedLink:
    """The link between these ranks, for one more model of this process; other settings of forecasts make another."""
    global _changes
    key = (tuple(ranks), config.forecast, config.half_life_s, config.low_quantile)
    with _changing:
        link = _links.setdefault(key, SharedLink(config, len(ranks)))
        link.models += 1
        _changes += 1
        return link


def leave(link: SharedLink) -> None:
    """One model less. What the last one leaves is forgotten."""
    global _changes
    with _changing:
        link.models -= 1
        _changes += 1
        for key in [key for key, known in _links.items() if known is link and not link.models]:
            del _links[key]


def changes() -> int:
    """How often models of this process have joined or left links: at a new number it has other connections."""
    return _changes

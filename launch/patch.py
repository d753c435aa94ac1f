"""Learn of every DDP model that a script makes. The class stays the same object; only its `__init__` is wrapped."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch.nn.parallel import DistributedDataParallel


def on_every_ddp(made: Callable[[DistributedDataParallel], None]) -> None:
    """Call `made(model)` at the end of every DDP constructor of this process from now on.

    Processes that the script itself spawns import torch anew and are not reached.
    """
    original = DistributedDataParallel.__init__

    @functools.wraps(original)
    def init(self: DistributedDataParallel, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made(self)

    DistributedDataParallel.__init__ = init  # type: ignore[method-assign]

"""Taking an optimizer's momentum over, for error feedback that comes after it (`error_feedback/dgc.py`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, final

import torch

from kimad.errors import AttachError

NEEDS = "error_feedback 'dgc' takes the momentum of torch.optim.SGD over"


@final
class TakenMomentum:
    """Switches the momentum of an SGD optimizer off until `give_back`. Raises AttachError where it cannot."""

    def __init__(self, optimizer: torch.optim.Optimizer | None, parameters: Collection[torch.nn.Parameter]) -> None:
        if optimizer is None:
            raise AttachError(f"{NEEDS}, and no optimizer was given: attach(model, config, optimizer=optimizer)")
        if not isinstance(optimizer, torch.optim.SGD):
            raise AttachError(f"{NEEDS}, and this optimizer is {type(optimizer).__name__}; use 'ef14' with it")
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        missing = sum(id(p) not in held for p in parameters)
        if missing:
            raise AttachError(f"{NEEDS}, and the optimizer given does not hold {missing} of the model's parameters")
        self._groups: list[dict[str, Any]] = optimizer.param_groups
        self.momentum = self._checked()
        for group in self._groups:
            group["momentum"] = 0.0

    def _checked(self) -> float:
        """The momentum of all groups."""
        found = {float(group["momentum"]) for group in self._groups}
        if len(found) > 1:
            raise AttachError(f"{NEEDS}, and its groups have {sorted(found)}; it must be one for all")
        for name in ("nesterov", "dampening", "weight_decay", "maximize"):
            values = {group.get(name, 0) for group in self._groups}
            if any(values):
                raise AttachError(
                    f"{NEEDS}, and its {name} is {max(values)!r}, which works on momentum; set it to 0, or use 'ef14'"
                )
        return found.pop()

    def give_back(self) -> None:
        """The optimizer has its momentum again; it starts from nothing."""
        for group in self._groups:
            group["momentum"] = self.momentum

"""The size of the model."""

from __future__ import annotations

from dataclasses import dataclass, fields

from examples.moe.errors import MoeError

VOCABULARY = 256  # a token is a byte


@dataclass(frozen=True)
class ModelConfig:
    """Raises MoeError where a number is not possible."""

    layers: int = 4  # every one has a mixture of experts
    width: int = 128  # of the residual stream
    heads: int = 4  # of attention
    hidden: int = 256  # of one expert
    experts: int = 32  # a layer
    chosen: int = 1  # experts a token: 1 is Switch, 2 is top-2
    context: int = 128  # tokens, at most

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise MoeError(f"{field.name} is {value!r}; allowed: a whole number above 0")
        if self.width % self.heads:
            raise MoeError(f"width {self.width} is not a multiple of the {self.heads} heads")
        if self.chosen > min(2, self.experts):
            raise MoeError(f"chosen is {self.chosen}; allowed: 1 or 2, and at most the {self.experts} experts")

    @property
    def expert_values(self) -> int:
        """Numbers in one expert: the two matrices of its feed-forward network."""
        return 2 * self.width * self.hidden

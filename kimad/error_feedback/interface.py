"""What every kind of error feedback does: says what is sent in place of the gradient, and what is made of the average.

A step goes through it in this order: `encode` or `flush` for each layer, in one thread; then, in another one, `arrived`
for each layer with what all ranks sent; and `end_step`, when it is known whether the step counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from kimad.compressors import Batch

Look = Callable[[str, Tensor], None]  # is shown a layer's name and what would be sent of it, were there room for all


class ErrorFeedback(ABC):
    """One rank's memory of all layers, by parameter name. Tensors are flat float32."""

    memories: tuple[str, ...]  # kinds of memory in `state_dict`, each with a tensor a layer
    follows_average = False  # whether `arrived` is to be called

    @abstractmethod
    def encode(
        self, names: Sequence[str], gradients: Sequence[Tensor], batch: Batch, out: Tensor, *, keys: Sequence[int],
        look: Look | None = None, whole: bool = False,
    ) -> None:  # fmt: skip
        """Write the layers' frames to `out`, and remember what they leave out.

        gradients: finite; they may hold anything afterwards. keys: seeds of the operators' randomness; one a layer, as
        names. The frames are kept, by reference, until `end_step`. whole: they travel by all-reduce, every entry.
        """

    @abstractmethod
    def flush(self, name: str, gradient: Tensor) -> None:
        """A layer that is sent whole, in float32: `gradient`, finite, becomes what is sent."""

    @abstractmethod
    def arrived(self, name: str, average: Tensor, *, whole: bool) -> None:
        """`average` of what all ranks sent becomes the gradient for the optimizer. whole: it went by all-reduce.

        Where `follows_average` is false it is that gradient already.
        """

    @abstractmethod
    def end_step(self, undo: set[str] | None) -> None:
        """Close a step. What the layers in `undo` (None: all layers) sent did not arrive: it is taken back."""

    @abstractmethod
    def squared_norm(self) -> float:
        """Sum over layers of the squared norm of what this rank has yet to send."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Copies of everything remembered: by kind of memory, then by layer name; plain tensors."""

    @abstractmethod
    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Replace everything remembered by what `state_dict` returned."""

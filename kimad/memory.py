"""Memory that is allocated once and used again in every step."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor


@final
class Memory:
    """Byte buffers by key; a buffer grows when more is asked for, and stays."""

    def __init__(self) -> None:
        self._held: dict[object, Tensor] = {}

    def bytes(self, key: object, size: int) -> Tensor:
        """`size` bytes, uint8; what was asked for under this key before may be the same memory."""
        held = self._held.get(key)
        if held is None or held.numel() < size:
            held = self._held[key] = torch.empty(size + size // 8, dtype=torch.uint8)
        return held[:size]

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()

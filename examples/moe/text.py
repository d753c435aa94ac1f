"""Text to learn from, as bytes: the Python standard library's sources, or any file or folder."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from examples.moe.errors import MoeError

LIMIT_BYTES = 16 << 20  # read at most so much
SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
HELD_OUT_EVERY = 10  # of so many pieces, one is kept for validation
PIECE_BYTES = 64 << 10


def read_text(path: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """All text, files in the order of their names; None for the standard library's sources.

    Raises:
        MoeError: no such file, or not enough text in it.
    """
    source = Path(sysconfig.get_path("stdlib")) if path is None else path
    if not source.exists():
        raise MoeError(f"text {source}: no such file or folder")
    if source.is_file():
        files = [source]
    else:
        pattern = "*.py" if path is None else "*"
        files = [f for f in sorted(source.rglob(pattern)) if not SKIPPED & set(f.relative_to(source).parts)]
    pieces: list[bytes] = []
    left = limit_bytes
    for file in files:
        if file.is_file() and left > 0:
            pieces.append(file.read_bytes()[:left])
            left -= len(pieces[-1])
    text = b"".join(pieces)
    if len(text) < 2 * HELD_OUT_EVERY * 1024:
        raise MoeError(f"text {source} has {len(text)} bytes; needed: {2 * HELD_OUT_EVERY * 1024} or more")
    return text


@final
class Text:
    """Text in two parts that do not overlap: of every ten pieces the last is held out."""

    def __init__(self, text: bytes) -> None:
        piece = min(PIECE_BYTES, len(text) // HELD_OUT_EVERY)
        data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        pieces = data[: len(data) // piece * piece].view(-1, piece)
        held = torch.arange(len(pieces)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        self.train = pieces[~held].flatten()
        self.validation = pieces[held].flatten()

    def draw(self, generator: torch.Generator, batch: int, length: int) -> Tensor:
        """int64 [batch, length + 1] from random places of the training part."""
        return windows(self.train, torch.randint(len(self.train) - length - 1, (batch,), generator=generator), length)

    def held_out(self, batch: int, length: int, offset: int = 0) -> Tensor:
        """int64 [batch, length + 1] from places of the held-out part that are the same every time, evenly apart."""
        room = len(self.validation) - length - 1
        starts = (torch.arange(batch) * room // batch + offset) % room
        return windows(self.validation, starts, length)


def windows(data: Tensor, starts: Tensor, length: int) -> Tensor:
    """One window of length + 1 bytes from each start."""
    return data[starts[:, None] + torch.arange(length + 1)].long()

"""Images side by side in one PNG."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

PIXEL = 4  # pixels of the picture for one of an image of 8; larger images have fewer


def save_grid(images: Tensor, path: Path, columns: int) -> None:
    """Write [N, C, H, W] with values from 0 to 1 as rows of `columns`; C is 1 or 3."""
    import matplotlib.image

    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = torch.ones(rows * (height + 1) + 1, columns * (width + 1) + 1, channels)
    for i, image in enumerate(images.detach().clamp(0, 1)):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image.permute(1, 2, 0)
    scale = max(1, PIXEL * 8 // height)
    pixels = canvas.expand(-1, -1, 3).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    matplotlib.image.imsave(path, pixels.numpy())

"""A folder of pictures, such as CelebA's: cut to a square in the middle, and made small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from examples.data.dataset import DataError, Split

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SIDE = 32  # pixels
LEAST = 10  # pictures
MOST = 20_000


def read_folder(folder: Path) -> Split:
    """All pictures under a folder, by name, without labels. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder of pictures")
    if importlib.util.find_spec("PIL") is None:
        raise DataError("pictures are read by pillow: pip install pillow")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)[:MOST]
    if len(paths) < LEAST:
        raise DataError(f"{folder} holds {len(paths)} pictures ({', '.join(ENDINGS)}); {LEAST} are needed at least")
    return Split(torch.stack([_picture(path) for path in paths]), None)


def _picture(path: Path) -> torch.Tensor:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            square = image.convert("RGB").crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
            pixels = np.array(square, np.float32)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(f"{path} is no picture that can be read: {error}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255

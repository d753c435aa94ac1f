"""IDX files, in which MNIST and Fashion-MNIST come: plain or compressed by gzip.

magic (u32, big endian): 0x00000801 labels, 0x00000803 images;  count;  rows and columns of images;  one byte each
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import torch

from examples.data.dataset import DataError, Split

LABELS, IMAGES = 0x00000801, 0x00000803
MAX_BYTES = 1 << 31  # of one file, unpacked
GZIP = b"\x1f\x8b"
PARTS = ("train", "t10k")


def read_idx(folder: Path) -> tuple[Split, Split]:
    """Training and test part from a folder that holds the four files under either usual spelling.

    Raises DataError for a file that is missing, cut short, or not what its name says.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; it should hold train-images-idx3-ubyte and three files like it")
    train, test = (_read_part(folder, part) for part in PARTS)
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = [" x ".join(map(str, split.images.shape[2:])) for split in (train, test)]
        raise DataError(f"{folder}: images for training have {shapes[0]} pixels, those for testing {shapes[1]}")
    return train, test


def _read_part(folder: Path, part: str) -> Split:
    images = _read(_find(folder, f"{part}-images", "idx3-ubyte"), IMAGES)
    labels = _read(_find(folder, f"{part}-labels", "idx1-ubyte"), LABELS)
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} {part} images and {len(labels)} labels do not go together")
    return Split(images[:, None].float() / 255, labels.long())


def _find(folder: Path, name: str, kind: str) -> Path:
    names = [f"{name}{separator}{kind}{end}" for end in ("", ".gz") for separator in ("-", ".")]
    for path in (folder / name for name in names):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds no {names[0]} (nor {', '.join(names[1:])})")


def _read(path: Path, magic: int) -> torch.Tensor:
    data = _content(path)
    dimensions = magic & 0xFF
    head = 4 * (1 + dimensions)
    if len(data) < head:
        raise DataError(f"{path} has {len(data)} bytes; an IDX file has {head} before its data")
    found, *sizes = struct.unpack(f">{1 + dimensions}I", data[:head])
    if found != magic:
        raise DataError(f"{path} begins with 0x{found:08x}; an IDX file of {_kind(magic)} begins with 0x{magic:08x}")
    count = 1
    for size in sizes:
        count *= size
    if count != len(data) - head or not count:
        shape = " x ".join(map(str, sizes))
        raise DataError(f"{path} says that it holds {shape} bytes, and has {len(data) - head}")
    return torch.frombuffer(bytearray(data[head:]), dtype=torch.uint8).view(*sizes)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
        with gzip.open(path) if compressed else path.open("rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} holds more than {MAX_BYTES} bytes")
    return data


def _kind(magic: int) -> str:
    return "images" if magic == IMAGES else "labels"

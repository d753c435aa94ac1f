"""The examples' data: what is read from files made here, and what is refused in one line."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from examples.data.dataset import DataError, Split
from examples.data.idx import IMAGES, LABELS, read_idx
from examples.data.load import load_dataset
from examples.data.split import stratified


def idx(magic: int, sizes: tuple[int, ...], data: bytes) -> bytes:
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + data


def write_mnist(folder: Path, *, packed: bool = False, separator: str = "-", count: int = 40) -> None:
    for part in ("train", "t10k"):
        pixels = bytes(i % 256 for i in range(count * 6))
        files = {
            f"{part}-images{separator}idx3-ubyte": idx(IMAGES, (count, 2, 3), pixels),
            f"{part}-labels{separator}idx1-ubyte": idx(LABELS, (count,), bytes(i % 4 for i in range(count))),
        }
        for name, data in files.items():
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx_files_of_every_spelling(tmp_path: Path, packed: bool, separator: str) -> None:
    write_mnist(tmp_path, packed=packed, separator=separator)
    train, test = read_idx(tmp_path)
    assert train.images.shape == test.images.shape == (40, 1, 2, 3)
    assert train.images[0, 0, 1, 2] == pytest.approx(5 / 255)
    assert train.labels is not None
    assert train.labels[:5].tolist() == [0, 1, 2, 3, 0]
    dataset = load_dataset(f"mnist:{tmp_path}")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 40)
    assert dataset.size == 6


DAMAGED = {
    "missing": (None, "holds no train-images-idx3-ubyte"),
    "empty": (b"", "has 0 bytes"),
    "another magic": (idx(LABELS, (40, 2, 3), bytes(240)), "begins with 0x00000801; an IDX file of images begins with"),
    "cut short": (idx(IMAGES, (40, 2, 3), bytes(239)), "says that it holds 40 x 2 x 3 bytes, and has 239"),
    "too long": (idx(IMAGES, (40, 2, 3), bytes(241)), "and has 241"),
    "huge": (idx(IMAGES, (2**31, 2**31, 2**31), b""), "and has 0"),
    "other count": (idx(IMAGES, (39, 2, 3), bytes(39 * 6)), "39 train images and 40 labels do not go together"),
    "other size": (
        idx(IMAGES, (40, 3, 3), bytes(360)),
        "for training have 3 x 3 pixels, those for testing 2 x 3",
    ),
    "broken gzip": (b"\x1f\x8b\x08garbage", "cannot be read"),
    "gzip cut short": (gzip.compress(idx(IMAGES, (40, 2, 3), bytes(range(240))))[:-20], "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_idx_files_are_named(tmp_path: Path, kind: str) -> None:
    write_mnist(tmp_path)
    data, said = DAMAGED[kind]
    path = tmp_path / "train-images-idx3-ubyte"
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(DataError) as error:
        load_dataset(f"fashion:{tmp_path}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("spec", ["", "mnist", "mnist:", "cifar", "images", "digits:x"])
def test_a_name_that_is_not_known(spec: str) -> None:
    with pytest.raises(DataError, match="allowed: digits, mnist:DIR"):
        load_dataset(spec)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    for kind in ("mnist", "images"):
        with pytest.raises(DataError, match="is no folder"):
            load_dataset(f"{kind}:{tmp_path / 'nowhere'}")


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for i in range(30):
        image.new("RGB", (40 + i, 50), (8 * i, 0, 255)).save(tmp_path / f"{i:02}.png")
    dataset = load_dataset(f"images:{tmp_path}")
    assert dataset.train.images.shape[1:] == (3, 32, 32)
    assert dataset.train.labels is None
    assert float(dataset.test.images[:, 2].min()) == 1.0
    (tmp_path / "00.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="is no picture that can be read"):
        load_dataset(f"images:{tmp_path}")


def test_parts_hold_every_class_alike_and_no_image_twice() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50)
    images = torch.arange(150.0).view(150, 1, 1, 1)
    parts = stratified(Split(images, labels), (0.6, 0.2, 0.2), seed=3)
    assert [len(part) for part in parts] == [90, 30, 30]
    assert [int((part.labels == 1).sum()) for part in parts if part.labels is not None] == [30, 10, 10]
    assert sorted(torch.cat([part.images.flatten() for part in parts]).tolist()) == list(range(150))
    again = stratified(Split(images, labels), (0.6, 0.2, 0.2), seed=3)
    assert torch.equal(again[0].images, parts[0].images)
    with pytest.raises(DataError, match="too few"):
        stratified(Split(images[:2], None), (0.6, 0.2, 0.2), seed=3)


def test_the_digits() -> None:
    dataset = load_dataset("digits", 1)
    sizes = [len(part) for part in (dataset.train, dataset.validation, dataset.test)]
    assert sum(sizes) == 1797
    assert sizes[2] == pytest.approx(0.4 * 1797, abs=6)
    assert (float(dataset.train.images.min()), float(dataset.train.images.max())) == (0.0, 1.0)

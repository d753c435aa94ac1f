"""A data set by its name."""

from __future__ import annotations

from pathlib import Path

from examples.data.dataset import DataError, Dataset
from examples.data.digits import read_digits
from examples.data.folder import read_folder
from examples.data.idx import read_idx
from examples.data.split import stratified

NAMES = "digits, mnist:DIR, fashion:DIR, images:DIR"
TRAIN, VALIDATION, TEST = 0.48, 0.12, 0.4  # where the data come in one piece


def load_dataset(spec: str, seed: int = 0) -> Dataset:
    """digits, mnist:DIR, fashion:DIR or images:DIR. seed: of the split. Raises DataError."""
    kind, separator, place = spec.partition(":")
    if spec == "digits" or (kind == "images" and place):
        data = read_digits() if spec == "digits" else read_folder(Path(place))
        train, validation, test = stratified(data, (TRAIN, VALIDATION, TEST), seed)
        return Dataset(kind, train, validation, test)
    if kind in ("mnist", "fashion") and separator and place:
        together, test = read_idx(Path(place))
        train, validation = stratified(together, (0.9, 0.1), seed)
        return Dataset(kind, train, validation, test)
    raise DataError(f"data {spec!r} is not known; allowed: {NAMES}")

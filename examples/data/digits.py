"""scikit-learn's digits: 1797 scans of 8x8 pixels in 17 grey levels, which ship inside the package."""

from __future__ import annotations

import importlib.util

import torch

from examples.data.dataset import DataError, Split


def read_digits() -> Split:
    """All of them. Raises DataError without scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        raise DataError("the digits come with scikit-learn: pip install 'kimad[examples]'")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return Split(pixels, torch.as_tensor(labels, dtype=torch.int64))

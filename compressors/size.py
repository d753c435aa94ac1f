"""How many entries a shape has, and which options make sense for them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod

from kimad.compressors.errors import OptionError
from kimad.compressors.frame import MAX_NUMEL
from kimad.compressors.option import Option


def numel(shape: Sequence[int]) -> int:
    """Number of entries of a tensor of this shape. Raises OptionError if no frame can carry so many."""
    n = prod(shape)
    if not 0 <= n <= MAX_NUMEL:
        raise OptionError(f"tensor of shape {tuple(shape)} has {n} entries, a frame carries 0 to {MAX_NUMEL}")
    return n


def dense_numel(shape: Sequence[int], option: Option, name: str) -> int:
    """Check an option of dense operator `name` and return the number of entries. Raises OptionError."""
    if option.operator != name:
        raise OptionError(f"option {option} was given to operator {name!r}")
    if option.k != 0 or option.values != "":
        raise OptionError(f"{name} takes neither k nor values, got k={option.k} and values={option.values!r}")
    return numel(shape)


def kept(option: Option, n: int) -> int:
    """Check `option.k` against a tensor of `n` entries and return it. Raises OptionError."""
    try:
        k = operator.index(option.k)
    except TypeError:
        raise OptionError(f"k is {option.k!r}, must be an integer") from None
    if not 0 <= k <= n:
        raise OptionError(f"k is {k}, must be from 0 to the tensor's {n} entries")
    return k

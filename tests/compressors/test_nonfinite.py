"""NaN and infinity are refused before they are sent, by every operator that looks at them."""

from __future__ import annotations

import pytest
import torch

from kimad.compressors import (
    ALL_COMPRESSORS,
    ALL_VALUE_CODES,
    Compressor,
    NonFiniteError,
    Option,
    encode,
    encode_owed,
    wire_bytes,
)
from tests.compressors.cases import options, sample, shape_of

pytestmark = pytest.mark.torch

BAD = (float("nan"), float("inf"), float("-inf"))
BLIND = ("drop", "randomk")  # the first sends nothing, the second looks only at what it sends
LOOKING = [operator for operator in ALL_COMPRESSORS if operator.name not in BLIND]


def sends(option: Option) -> bool:
    """Whether anything is sent; of a tensor of which nothing is, nothing is looked at."""
    return option.k >= {"topk": 1, "threshold": 1, "blocktopk": 32}.get(option.operator, 0)


@pytest.mark.parametrize("operator", LOOKING, ids=lambda operator: operator.name)
@pytest.mark.parametrize("n", [50, 300, 4097, 132_000])
def test_every_operator_refuses_what_is_not_finite(operator: Compressor, n: int) -> None:
    shape = shape_of(n)
    gradient = sample("normal", n, 1)
    for turn, option in enumerate(filter(sends, options(operator, n))):
        out = torch.empty(wire_bytes(shape, option), dtype=torch.uint8)
        values, residual = sample("normal", n, turn), gradient.clone()
        values[(0, n // 2, n - 1, n // 3)[turn % 4]] = BAD[turn % 3]
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            encode(values, option, out, shape=shape)
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            encode_owed(residual, values, option, out, shape=shape)
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            encode_owed(values, gradient, option, out, shape=shape)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("code", [code.name for code in ALL_VALUE_CODES])
def test_random_places_refuse_what_they_send(code: str, bad: float) -> None:
    """What is not sent stays in the residual, and is seen when its turn comes."""
    values = sample("normal", 300, 1)
    values[10] = bad
    out = torch.empty(4000, dtype=torch.uint8)
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        encode(values, Option("randomk", 300, code), out)
    refused = 0
    for key in range(40):
        try:
            encode(values, Option("randomk", 100, code), out, key=key)
        except NonFiniteError:
            refused += 1
    assert 2 < refused < 35  # a chance of one third each


@pytest.mark.parametrize(
    "option",
    [
        Option("topk", 5, "log4"),
        Option("int8"),
        Option("natural"),
        Option("lowrank", 1, "float32"),
        Option("blocktopk", 64, "int8"),
    ],
    ids=str,
)
def test_the_residual_holds_a_refused_gradient_or_a_part_of_it(option: Option) -> None:
    for n in (300, 300_000):
        residual, gradient = torch.ones(n), torch.full((n,), 2.0)
        gradient[7] = float("nan")
        with pytest.raises(NonFiniteError):
            encode_owed(residual, gradient, option, torch.empty(2_000_000, dtype=torch.uint8))
        assert set(residual[torch.arange(n) != 7].tolist()) <= {1.0, 3.0}

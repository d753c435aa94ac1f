"""All operators, by name and by number, and what is known of a frame before there is one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from kimad.compressors.bfloat16 import BFloat16
from kimad.compressors.blocktopk import BlockTopK
from kimad.compressors.compressor import Compressor
from kimad.compressors.drop import Drop
from kimad.compressors.errors import OptionError, UnknownCodec
from kimad.compressors.float16 import Float16
from kimad.compressors.float32 import Float32
from kimad.compressors.linear import Linear
from kimad.compressors.lowrank import LowRank
from kimad.compressors.natural import Natural
from kimad.compressors.option import Option
from kimad.compressors.qsgd import QSGD
from kimad.compressors.randomk import RandomK
from kimad.compressors.sign import Sign
from kimad.compressors.ternary import Ternary
from kimad.compressors.threshold import Threshold
from kimad.compressors.topk import TopK

# A new operator is one more entry here (a new value code: one in `value_codes`); lookups, property tests and
# `kimad bench codecs` go over it.
ALL_COMPRESSORS: tuple[Compressor, ...] = (
    Drop(),
    TopK(),
    RandomK(),
    Threshold(),
    BlockTopK(),
    LowRank(),
    Sign(),
    Ternary(),
    QSGD(),
    Linear(4, stochastic=False, code=14),
    Linear(4, stochastic=True, code=15),
    Natural(),
    Linear(8, stochastic=False, code=3),
    Linear(8, stochastic=True, code=16),
    BFloat16(),
    Float16(),
    Float32(),
)

_BY_NAME = {operator.name: operator for operator in ALL_COMPRESSORS}
_BY_NUMBER = {operator.code: operator for operator in ALL_COMPRESSORS}
if len(_BY_NAME) != len(ALL_COMPRESSORS) or len(_BY_NUMBER) != len(ALL_COMPRESSORS):
    raise ImportError("two compressors share a name or a number")


def compressor(name: str) -> Compressor:
    """Return the operator of this name. Raises OptionError."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise OptionError(f"unknown operator {name!r}, known are {', '.join(_BY_NAME)}") from None


def compressor_by_code(code: int) -> Compressor:
    """Return the operator with this number on the wire. Raises UnknownCodec."""
    try:
        return _BY_NUMBER[code]
    except KeyError:
        raise UnknownCodec(f"unknown operator number {code}, known are {sorted(_BY_NUMBER)}") from None


def wire_bytes(shape: Sequence[int], option: Option) -> int:
    """Exact bytes of the frame of a tensor of this shape, whatever its values. Raises OptionError."""
    return _wire_bytes(tuple(shape), option)


def damping(shape: Sequence[int], option: Option) -> float:
    """What decoded values are multiplied by under error feedback: 1 where the operator is a contraction.

    An unbiased operator with error >= 1 is none: the residual would grow for ever. 1 / (1 + error) times it is one
    (Beznosikov et al., arXiv:2002.12410). Raises OptionError.
    """
    return _damping(tuple(shape), option)


@lru_cache(maxsize=1 << 16)
def _wire_bytes(shape: tuple[int, ...], option: Option) -> int:
    return compressor(option.operator).wire_bytes(shape, option)


@lru_cache(maxsize=1 << 12)
def _damping(shape: tuple[int, ...], option: Option) -> float:
    promise = compressor(option.operator).promise(shape, option)
    return 1 / (1 + promise.error) if promise.unbiased and promise.error >= 1 else 1.0

"""The bytes of every operator on one tensor: a change of the format, or of a rounding, is seen and is a new version.

Low rank is not among them, for products of matrices are rounded as the machine's library likes, and neither is the
value code log4, whose logarithms may differ in the last bit; what frames decode to is the same everywhere.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from kimad.compressors import ALL_COMPRESSORS, ALL_VALUE_CODES, Option, noise
from tests.compressors.cases import decoded, frame_of

N = 1003
KEY = 77


def values() -> Tensor:
    """Made of pinned noise, over 16 octaves; a few zeros."""
    drawn = noise.uniform(1, 0, np.empty(N, np.float32)) - np.float32(0.5)
    drawn = np.ldexp(drawn, np.arange(N) % 16 - 8)
    drawn[::50] = 0
    return torch.from_numpy(drawn)


# crc32 of the frame, crc32 of what it decodes to
PINS = {
    Option("drop"): (0, 50684794),
    Option("sign"): (1898847484, 2211518904),
    Option("ternary"): (4162640066, 28800788),
    Option("int4"): (468026332, 398862533),
    Option("int4-stochastic"): (2212400594, 4018290186),
    Option("natural"): (627533961, 1658179999),
    Option("int8"): (298701353, 2503495168),
    Option("int8-stochastic"): (2586008355, 1080547243),
    Option("bfloat16"): (1981084835, 856681840),
    Option("float16"): (3181658678, 1160174286),
    Option("float32"): (2392511132, 956943161),
    Option("qsgd", 1): (4190407312, 2252487379),
    Option("qsgd", 7): (1727144811, 1272569654),
    Option("qsgd", 127): (692248473, 497441894),
    Option("topk", 100, "float32"): (3343914459, 28822646),
    Option("topk", 100, "bfloat16"): (2163038031, 830704284),
    Option("topk", 100, "int8"): (2475097657, 3397315996),
    Option("topk", 100, "sign"): (2583641195, 3781058233),
    Option("topk", 1003, "float32"): (1673933349, 956943161),
    Option("topk", 600, "int8"): (3691747893, 2558299562),
    Option("topk", 3, "int8"): (3751908217, 1123977251),
    Option("randomk", 100, "float32"): (3896627048, 1915252519),
    Option("randomk", 100, "int8"): (610090264, 645942765),
    Option("threshold", 300, "float32", 8.0): (627616253, 2181325721),
    Option("blocktopk", 320, "int8"): (856879666, 1937947813),
}


def crc(tensor: Tensor) -> int:
    return zlib.crc32(tensor.numpy().tobytes())


@pytest.mark.parametrize("option", PINS, ids=str)
def test_frames_are_pinned(option: Option) -> None:
    frame = frame_of(values(), option, key=KEY)
    assert (crc(frame), crc(decoded(frame, N) + 0.0)) == PINS[option]


def test_every_operator_and_value_code_is_pinned() -> None:
    assert {option.operator for option in PINS} == {o.name for o in ALL_COMPRESSORS} - {"lowrank"}
    assert {option.values for option in PINS} - {""} == {c.name for c in ALL_VALUE_CODES} - {"log4"}

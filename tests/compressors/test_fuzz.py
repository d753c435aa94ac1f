"""100,000 damaged frames: each decodes to finite values, or raises a FrameError and leaves the target alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import FrameError, decode
from tests.compressors.cases import frame_of, options, sample

FRAMES = 100_000
LENGTHS = (1, 17, 300, 700)
HEADER_BYTES = 16
Bytes = NDArray[np.uint8]


def damaged(frame: Bytes, draw: NDArray[np.int64]) -> Bytes:
    """One of: changed body bytes, changed header byte, another count or width, cut, extended. `draw`: 8 numbers."""
    kind = draw[0] % 10
    frame = frame.copy()
    if kind <= 4 and frame.size > HEADER_BYTES:
        for place, byte in draw[2 : 4 + kind].reshape(-1, 1) * [1, 1] if kind % 2 == 0 else [draw[2:4]]:
            frame[HEADER_BYTES + place % (frame.size - HEADER_BYTES)] ^= 1 << byte % 8
    elif kind == 5 and frame.size:
        frame[draw[2] % min(frame.size, HEADER_BYTES)] = draw[3] % 256
    elif kind == 6 and frame.size:
        count = frame[12:14].view("<u2")
        count += np.uint16(draw[2] % 3)
        frame[4] = draw[3] % 4
        frame[5] = draw[4] % 5 * 4
    elif kind == 7:
        frame = frame[: draw[2] % (frame.size + 1)]
    elif kind == 8:
        frame = np.append(frame, np.zeros(draw[2] % 9, np.uint8) + np.uint8(draw[3] % 2))
    elif frame.size > HEADER_BYTES:
        frame[HEADER_BYTES + draw[2] % (frame.size - HEADER_BYTES) :] = draw[3] % 256
    return frame


def refusal(frame: Bytes, target: Tensor) -> str:
    """Name of the FrameError that decoding raises, or nothing. Any other exception fails the test."""
    try:
        decode(torch.from_numpy(frame), target)
    except FrameError as error:
        assert str(error)  # noqa: PT017
        return type(error).__name__
    return ""


def test_damaged_frames_are_refused_or_finite() -> None:
    rng = np.random.default_rng(0)
    bases = [
        (n, frame_of(sample(kind, n, n), option).numpy())
        for n in LENGTHS
        for kind in ("heavy", "sparse")
        for option in options(n)
    ]
    targets = {n: torch.linspace(-1, 1, n) for n in LENGTHS}
    before = {n: target.clone() for n, target in targets.items()}
    seen: Counter[str] = Counter()
    added = 0
    for draw in rng.integers(0, 2**31, (FRAMES, 8)):
        n, base = bases[draw[1] % len(bases)]
        frame = damaged(base, draw)
        target = targets[n]
        refused = refusal(frame, target)
        seen[refused or "decoded"] += 1
        if torch.equal(target, before[n]):
            continue
        assert not refused, f"{refused} after a write"
        added += 1
        assert bool(torch.isfinite(target).all())
        target.copy_(before[n])
    # decoders' bodies were reached, and every check fired
    assert added > FRAMES // 10, seen
    for name in (
        "FrameTooShort", "WrongLength", "TrailingBytes", "BadMagic", "BadVersion", "UnknownCodec", "UnknownValueCode",
        "BadLowBits", "BadFlags", "NumelMismatch", "CountTooLarge", "CountMismatch", "BadIndices", "NonFiniteScale",
        "NonFiniteValues",
    ):  # fmt: skip
        assert seen[name] >= 20, (name, seen)

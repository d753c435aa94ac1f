"""A million damaged frames: each decodes to finite values, or raises a FrameError and leaves the target alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from kimad.compressors import ALL_COMPRESSORS, Compressor, FrameError, decode, errors
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.index_code import BITMAP, DENSE, SEEDED, WORDS
from kimad.compressors.sparse import SparseCompressor
from tests.compressors.cases import EACH_OPERATOR, frame_of, options, sample

FRAMES = -(-1_000_000 // len(ALL_COMPRESSORS))  # of each operator
ROUND = 250  # frames damaged at once
LENGTHS = (1, 17, 96, 301)
HEADER_BYTES = 16
LEFT_BYTES = 50_000_000  # memory that may be held on to
SEEN = 20  # times that every reachable error must have shown up
Bytes = NDArray[np.uint8]
Rng = np.random.Generator

# Words that are worth a try as a scale, a value, a count or a number of rows.
WORDS_32 = np.array(
    [0, 1, 2, 0x80000000, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0x7BFFFFFF, 0x7E000000,
     0x00800000, 0x3F800000, 0x7C007C00, 0x7F807F80, 0x80008000, 0x7BFF7BFF],
    "<u4",
).view(np.uint8).reshape(-1, 4)  # fmt: skip
CODES = np.array([*range(18), *range(28, 32), BITMAP, WORDS, DENSE, SEEDED, 36, 127, 128, 200, 255], np.uint8)
CONSTANTS = np.array([0, 1, 0x7F, 0x80, 0xFF], np.uint8)


def reachable(operator: Compressor) -> set[str]:
    """Names of the errors that damage to this operator's frames must bring up."""
    if not operator.header_bytes:
        return {"FrameTooShort", "WrongLength", "BadMagic", "BadVersion", "UnknownCodec"}
    found = {
        "FrameTooShort", "BadMagic", "BadVersion", "UnknownCodec", "UnknownValueCode", "BadIndexCode", "BadFlags",
        "NumelMismatch", "CountTooLarge",
    }  # fmt: skip
    if isinstance(operator, SparseCompressor):
        found |= {"TrailingBytes", "NonFiniteScale", "NonFiniteValues"}
        found |= set() if operator.seeded else {"BadIndices", "CountMismatch"}
    else:
        found |= {"WrongLength"}
    if isinstance(operator, DenseCompressor):
        found |= {"CountMismatch", "NonFiniteScale"} if operator.scaled else {"CountMismatch", "NonFiniteValues"}
    packed = ("sign", "ternary", "qsgd", "int4", "int4-stochastic")
    found |= {"TrailingBytes"} if operator.name in packed else set()
    found |= {"ternary": {"BadCode"}, "lowrank": {"BadShape", "NonFiniteValues"}, "float16": {"NonFiniteValues"}}.get(
        operator.name, set()
    )
    return found


def test_every_error_is_reachable() -> None:
    classes = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FrameError)}
    assert set().union(*map(reachable, ALL_COMPRESSORS)) == classes - {"FrameError"}


def bases(operator: Compressor) -> list[tuple[int, Bytes]]:
    """Tensor lengths and frames to damage, all with a header."""
    if not operator.header_bytes:  # frames are empty, so that their damage is a header
        return [(n, np.frombuffer(b"Ki\1" + bytes([operator.code] * 13), np.uint8)) for n in LENGTHS]
    return [
        (n, frame_of(sample(kind, n, n), option, key=n).numpy())
        for n in LENGTHS
        for kind in ("heavy", "sparse")
        for option in options(operator, n)
    ]


def damaged(frame: Bytes, rng: Rng) -> list[Bytes]:
    """ROUND copies, each damaged in one or two of ten ways: bits, bytes, words, header fields, tails, lengths."""
    size, body = frame.size, frame.size - HEADER_BYTES
    rows = np.zeros((ROUND, size + 8), np.uint8)
    rows[:, :size] = frame
    lengths = np.full(ROUND, size)
    ways = rng.integers(0, 10, (2, ROUND))
    ways[1, rng.random(ROUND) < 0.7] = -1  # most suffer one kind alone
    for way in ways:
        for number in range(10):
            where = (way == number).nonzero()[0]
            some: NDArray[np.int64] = rng.integers(0, 2**31, where.size)
            bytes_ = rng.integers(0, 256, where.size).astype(np.uint8)
            if number == 0:
                rows[where, some % HEADER_BYTES] = bytes_
            elif number == 1:
                rows[where, 3 + some % 3] = rng.choice(CODES, where.size)
            elif number == 2:
                rows[where[:, None], 12 + np.arange(4)] = rng.choice(WORDS_32, where.size)
            elif number == 3:
                rows[where, 12] += (some % 5 - 2).astype(np.uint8)
            elif number == 4:
                lengths[where] = some % (size + 1)
            elif number == 5:
                lengths[where] = size + some % 9
                rows[where, size + some % 8] = bytes_ % 2
            elif body > 0:
                places = HEADER_BYTES + some % body
                if number == 6:
                    for _ in range(3):
                        rows[where, HEADER_BYTES + rng.integers(0, body, where.size)] ^= np.uint8(1) << bytes_ % 8
                elif number == 7:
                    rows[where, places] = bytes_
                elif number == 8:  # a word, mostly where scales stand
                    starts = HEADER_BYTES + np.where(some % 3, 0, some % body)
                    starts = np.minimum(starts, max(HEADER_BYTES, size - 4))
                    rows[where[:, None], starts[:, None] + np.arange(4)] = rng.choice(WORDS_32, where.size)
                else:
                    for row, place in zip(where.tolist(), places.tolist(), strict=True):
                        rows[row, place:size] = CONSTANTS[row % 5]
    rows[lengths <= size, size:] = 0
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


@EACH_OPERATOR
def test_damaged_frames_are_refused_or_finite(operator: Compressor) -> None:
    rng = np.random.default_rng(operator.code)
    originals = bases(operator)
    before = {n: torch.linspace(-1, 1, n) for n in LENGTHS}
    targets = {n: before[n].repeat(ROUND, 1) for n in LENGTHS}
    seen: Counter[str] = Counter()
    added = done = held = 0
    while done < FRAMES:
        n, frame = originals[rng.integers(len(originals))]
        refused = np.zeros(ROUND, np.bool_)
        for place, (copy, target) in enumerate(zip(damaged(frame, rng), targets[n].unbind(), strict=True)):
            try:
                decode(torch.from_numpy(copy), target)
            except FrameError as error:
                seen[type(error).__name__] += 1
                refused[place] = True
                assert str(error)  # noqa: PT017
        changed = (targets[n] != before[n]).any(dim=1).numpy()
        assert not (changed & refused).any(), "a refused frame was written"
        assert bool(torch.isfinite(targets[n]).all())
        targets[n][:] = before[n]
        added += int(changed.sum())
        done += ROUND
        held = held or psutil.Process().memory_info().rss
    assert psutil.Process().memory_info().rss - held < LEFT_BYTES
    assert added > FRAMES // 20 or not operator.header_bytes, seen  # bodies were reached
    for name in reachable(operator):
        assert seen[name] >= SEEN, (name, seen)


def test_random_bytes_behind_a_good_header() -> None:
    """Bodies of noise for every value code and index code, lengths that fit or nearly do."""
    rng = np.random.default_rng(0)
    base = torch.linspace(-1, 1, 96)
    outcomes: Counter[Any] = Counter()
    for operator in ALL_COMPRESSORS:
        for option in options(operator, 96):
            frame = frame_of(sample("heavy", 96, 1), option).numpy()
            for _ in range(40 if frame.size > HEADER_BYTES else 0):
                copy = frame.copy()
                copy[HEADER_BYTES:] = rng.integers(0, 256, frame.size - HEADER_BYTES)
                target = base.clone()
                try:
                    decode(torch.from_numpy(copy), target)
                except FrameError as error:
                    outcomes[type(error).__name__] += 1
                    assert torch.equal(target, base)
                else:
                    outcomes["decoded"] += 1
                    assert bool(torch.isfinite(target).all())
    assert outcomes["decoded"] > 100
    assert len(outcomes) > 4

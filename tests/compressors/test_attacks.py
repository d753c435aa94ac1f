"""Hand-made frames that must be refused: the folder `attacks`, its script and its page agree, and `decode` obeys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from kimad.compressors import FrameError, decode, errors
from tests.compressors.attacks import make
from tests.compressors.attacks.frames import ELIAS_FANO, GOOD, WORDS, N, f32, head, log4, lowrank, topk

FILES = sorted(make.FOLDER.glob("*.bin"))
SAYS = {attack.file: attack.says for attack in make.ATTACKS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_attacks_are_refused(path: Path) -> None:
    expected = getattr(errors, path.name.split("-")[0])
    assert issubclass(expected, FrameError)
    target = torch.linspace(-1, 1, N)
    before = target.clone()
    frame = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    for scale in (1.0, -1.0, 0.5):
        with pytest.raises(expected, match=re.escape(SAYS[path.name])):
            decode(frame, target, scale)
        assert torch.equal(target, before)


def test_the_folder_is_what_its_script_writes() -> None:
    assert [path.name for path in FILES] == sorted(SAYS)
    assert len(SAYS) == len(make.ATTACKS)
    for attack in make.ATTACKS:
        assert (make.FOLDER / attack.file).read_bytes() == attack.frame, attack.file
    assert (make.FOLDER / "README.md").read_text(encoding="utf-8") == make.readme()


def test_every_frame_error_is_attacked() -> None:
    classes = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FrameError)}
    assert {attack.error for attack in make.ATTACKS} == classes - {"FrameError"}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (topk(WORDS, GOOD), {7: 1.0, 9: 2.0, 300: 3.0}),
        (topk(8, ELIAS_FANO), {7: 1.0, 9: 2.0, 300: 3.0}),
        (topk(WORDS, GOOD) + bytes(5), {7: 1.0, 9: 2.0, 300: 3.0}),
        (log4(0, 7 * 256), {7: 1.0, 9: 2.0, 300: 4.0}),
        (head("blocktopk", 1, WORDS, 1) + b"\x09\0" + f32(*range(32)), {288 + i: float(i) for i in range(1, 13)}),
        (lowrank(7, last=2.0), {i: 2.0 if i % 43 == 42 else 1.0 for i in range(N)}),
    ],
    ids=["words", "elias-fano", "room", "log4", "last-block", "lowrank"],
)
def test_the_frames_that_attacks_start_from_are_good(frame: bytes, expected: dict[int, float]) -> None:
    """So it is the damage that is refused. These bytes also pin the format."""
    target = torch.zeros(N)
    decode(torch.frombuffer(bytearray(frame), dtype=torch.uint8), target)
    wanted = torch.zeros(N)
    wanted[list(expected)] = torch.tensor(list(expected.values()))
    assert torch.equal(target, wanted)

"""Writes the attack frames of this folder and the table in its README: `python -m tests.compressors.attacks.make`.

Every frame is put together from bytes, without the encoders, so that it stays what it is when they change.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.compressors.attacks import frames
from tests.compressors.attacks.frames import N

FOLDER = Path(__file__).parent

HEAD = f"""# Attack frames

Frames that nobody's encoder writes, for a target of {N} entries. `decode` must refuse each with the error that its file
name starts with, and leave the target as it is; `test_attacks.py` sees to that. `make.py` writes the files and this
page, from the bytes in `frames.py`.

| file | what is wrong | expected error |
|---|---|---|
"""


@dataclass(frozen=True)
class Attack:
    """One damaged frame."""

    error: str  # name of the FrameError
    operator: str
    name: str
    wrong: str  # what is wrong, for people
    says: str  # what the error's message must match
    frame: bytes

    @property
    def file(self) -> str:
        return f"{self.error}-{self.operator}-{self.name}.bin"


ATTACKS = [Attack(*row) for row in (*frames.HEADERS, *frames.DENSE, *frames.SPARSE, *frames.LOW_RANK)]


def readme() -> str:
    """The page with its table."""
    return HEAD + "".join(f"| `{attack.file}` | {attack.wrong} | {attack.error} |\n" for attack in ATTACKS)


def main() -> None:
    for path in FOLDER.glob("*.bin"):
        path.unlink()
    for attack in ATTACKS:
        (FOLDER / attack.file).write_bytes(attack.frame)
    (FOLDER / "README.md").write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main()

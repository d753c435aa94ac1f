"""What gloo itself prints in some versions of torch: whom each rank is connected to, on stdout and without a switch."""

from __future__ import annotations

import re

BEGINNING = "[Gloo] Rank "
_PIECES = re.compile(
    r"\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : "
)  # each is written by itself, and ranks that share an output tear them apart
_LEFT = re.compile(r"\d*\s*")  # of such a line


def without_gloo(stdout: str) -> str:
    """An output without gloo's lines; untouched where it has none. Otherwise lines of digits alone go too."""
    if BEGINNING not in stdout:
        return stdout
    lines = _PIECES.sub("", stdout).splitlines(keepends=True)
    return "".join(line for line in lines if not _LEFT.fullmatch(line))

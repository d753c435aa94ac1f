"""What gloo prints is taken out of an output, and nothing else."""

from __future__ import annotations

import pytest

from tests.gloo import without_gloo

LINE = "[Gloo] Rank 1 is connected to 12 peer ranks. Expected number of connected peer ranks is : 12\n"
TORN = (
    "[Gloo] Rank [Gloo] Rank 10 is connected to  is connected to 11 peer ranks.  peer ranks. "
    "Expected number of connected peer ranks is : Expected number of connected peer ranks is : 11\n\n"
)


@pytest.mark.parametrize("noise", [LINE, TORN, LINE + TORN + LINE])
def test_only_lines_of_gloo_go(noise: str) -> None:
    assert without_gloo(noise) == ""
    assert without_gloo(f"{noise}0.5\n{noise}Rank 3\nlast") == "0.5\nRank 3\nlast"


def test_an_output_without_gloo_is_left_alone() -> None:
    for output in ("", "\n7\n\n", "16\n"):
        assert without_gloo(output) == output

"""What each worker leaves for the parent: one small file a rank."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from kimad.files import replacing
from kimad.launch.backends.backend import ShapingReport
from kimad.launch.job import rank_path


@final
@dataclass(frozen=True)
class RankReport:
    """One rank's part of the run."""

    rank: int
    world_size: int  # ranks of the run
    ddp_models: int = 0  # that the script made
    attached: int = 0  # of these, with Kimad's hook, or recorded from outside
    ended: bool = False  # the script came to its end, or raised
    error: str | None = None  # kind of the exception that ended it
    ended_s: float = 0.0  # monotonic clock, at the end
    shaping: ShapingReport | None = None

    def write(self, folder: Path) -> None:
        """Replace this rank's report at once."""
        path = rank_path(folder, self.rank)
        with replacing(path) as part:
            part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_reports(folder: Path) -> dict[int, RankReport]:
    """The reports of the ranks that left one on this machine, by rank."""
    found: dict[int, RankReport] = {}
    for path in sorted(folder.glob("rank*.json")):
        fields = json.loads(path.read_text(encoding="utf-8"))
        report = RankReport(**{**fields, "shaping": None})
        if fields["shaping"] is not None:
            report = replace(report, shaping=ShapingReport(**fields["shaping"]))
        found[report.rank] = report
    return found

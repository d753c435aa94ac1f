"""One thing that is looked at: what was found, whether that is well, and what to do if it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

OK, WARN, FAIL = "ok", "warn", "FAIL"
REPORT = "report it, with what `kimad doctor --json` prints"


@final
@dataclass(frozen=True)
class Check:
    """A line of the report."""

    name: str
    status: str  # OK; WARN: works, but not all or not well; FAIL: Kimad cannot work so
    found: str
    advice: str = ""  # what to do
    figures: dict[str, Any] = field(default_factory=dict)  # for JSON

    def line(self, width: int) -> str:
        """As text; `width`: of the column of names."""
        advice = f" -> {self.advice}" if self.advice else ""
        return f"{self.status:<4}  {self.name:<{width}}  {' '.join((self.found + advice).split())}"


@final
@dataclass(frozen=True)
class Look:
    """How one check is made."""

    name: str
    needed: bool  # whether Kimad cannot work without
    check: Callable[[], Check]

    def look(self) -> Check:
        """Make the check. An error in it is a finding as well."""
        try:
            return self.check()
        except Exception as error:  # a report of what does not work must not stop at what does not work
            first_line = (str(error).splitlines() or [""])[0]
            text = f"could not be looked at: {type(error).__name__}: {first_line}"
            return Check(self.name, FAIL if self.needed else WARN, text, REPORT)

"""`kimad emulate --check` and `--cleanup`: what works here, and what is left of emulations that were killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from kimad.launch.backends.registry import BACKENDS
from kimad.launch.errors import UsageError
from kimad.launch.leftovers import clean_up


def upkeep(argv: Sequence[str]) -> int:
    """`--check` or `--cleanup`, with or without `--json`. Raises UsageError for both."""
    if "--check" in argv and "--cleanup" in argv:
        raise UsageError("--check and --cleanup are given; give one of them")
    if "--check" not in argv and "--cleanup" not in argv:
        raise UsageError("--json is given alone; it goes with --check or --cleanup")
    return check(as_json="--json" in argv) if "--check" in argv else cleanup(as_json="--json" in argv)


def reasons() -> dict[str, str | None]:
    """Why each backend does not work on this machine; None for one that does."""
    return {name: backend.unavailable() for name, backend in BACKENDS.items()}


def check(*, as_json: bool) -> int:
    """Print which backends work on this machine, and why the others do not."""
    found = reasons()
    chosen = next((name for name, reason in found.items() if reason is None), None)
    if as_json:
        rows = [
            {
                "backend": name,
                "works": reason is None,
                "reason": reason,
                "auto": name == chosen,
                "summary": BACKENDS[name].summary,
            }
            for name, reason in found.items()
        ]
        print(json.dumps(rows, indent=1))
        return 0
    for name, reason in found.items():
        verdict = "works" if reason is None else "no"
        print(f"{name:<8}{verdict:<7}{BACKENDS[name].summary if reason is None else reason}")
    print(f"auto takes {chosen}" if chosen else "no backend works here")
    return 0


def cleanup(*, as_json: bool) -> int:
    """Remove what emulations left whose launcher is gone; says what."""
    left = clean_up()
    if as_json:
        print(json.dumps(asdict(left), indent=1))
    else:
        print(f"removed {len(left.namespaces)} namespaces and ended {len(left.processes)} processes")
    for failure in left.failures:
        print(f"kimad emulate: {failure}", file=sys.stderr)
    return 1 if left.failures else 0

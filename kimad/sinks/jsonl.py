"""StepRecords as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import final

from kimad.errors import ConfigError
from kimad.record import StepRecord


@final
class JsonlSink:
    """Appends one line a step to a file; every line is complete when it is written."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise ConfigError(f"cannot write records to {path}: {error.strerror}; give another folder") from error

    def log(self, record: StepRecord) -> None:
        """Write a record."""
        self._file.write(json.dumps(record.to_json(), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

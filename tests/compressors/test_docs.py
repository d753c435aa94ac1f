"""The examples of docs/compressors.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs" / "compressors.md"


def test_examples_of_the_documentation_run() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    script = "\n".join([*blocks, "print(frame.numel(), batch.wire_bytes)"])
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert re.fullmatch(r"\d+ \d+\n", shown.stdout)

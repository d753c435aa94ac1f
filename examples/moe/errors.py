"""The error of this example."""

from __future__ import annotations


class MoeError(Exception):
    """A setting, a file or a server that cannot be used: one line that says what was given and what is allowed."""

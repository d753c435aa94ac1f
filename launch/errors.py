"""What can go wrong before and after the workers run."""

from __future__ import annotations

from kimad.errors import KimadError


class UsageError(KimadError, ValueError):
    """Bad input on the command line: one line; the command ends with exit code 2 and has written nothing."""


class BackendError(KimadError):
    """The emulated network does not do what was asked of it."""

"""A `tc` process that stays, one a namespace: a change of rate is one line to it, and takes less than a millisecond."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import final

from kimad.launch.testbed.enter import hurry
from kimad.launch.testbed.names import TestbedError, call, tool

_END_LIMIT_S = 3.0


@final
class TcBatch:
    """Takes commands for one namespace. What `tc` complains of is kept."""

    def __init__(self, namespace: str) -> None:
        self._argv = [tool("tc") or "tc", "-n", namespace, "-force", "-batch", "-"]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # A session of its own: Ctrl-C in the terminal is the parent's business.
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        hurry(self._process.pid)

    def send(self, lines: Sequence[str]) -> None:
        """Hand over commands; does not wait for them. Raises TestbedError if tc has ended."""
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write("".join(line + "\n" for line in lines))
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise TestbedError(f"`{' '.join(self._argv)}` ended early: {self.errors.strip() or error}") from error

    def settle(self, lines: Sequence[str]) -> None:
        """Carry out commands before it returns. Raises TestbedError with what tc complains of."""
        call(self._argv, given="".join(line + "\n" for line in lines))

    @property
    def errors(self) -> str:
        """What tc complained of so far; empty if all commands were taken."""
        return os.pread(self._errors.fileno(), 1 << 16, 0).decode(errors="replace")

    def close(self) -> str:
        """End the process, once it has carried out what it was given; returns its complaints."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it ended before; its complaint says why
            self._process.stdin.close()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        errors = self.errors
        self._errors.close()
        return errors

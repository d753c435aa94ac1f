"""What a trace format is: a name, how it is recognised, a reader and, where one can exist, a writer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kimad.trace.steps import Steps


class Format(ABC):
    """One format of trace files. Times are seconds, rates Mbit/s, once they are read."""

    name: str  # as in FORMAT:FILE, --from and --to
    summary: str  # what a line holds, in half a sentence
    suffix: str  # of file names from which the format is guessed when a file is written; empty: never guessed

    @abstractmethod
    def recognise(self, head: str) -> bool:
        """Does a file that begins with `head` (HEAD characters or all of it) look like this format?"""

    @abstractmethod
    def read(self, text: str, name: str) -> Steps:
        """The trace that `text` holds; `name` is the file's, for messages.

        Raises:
            TraceError: with file, line and reason.
        """

    @abstractmethod
    def write(self, steps: Steps) -> str:
        """The text of a file with this trace.

        Raises:
            TraceError: it cannot be written in this format, and why.
        """

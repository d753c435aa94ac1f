"""Sections on a terminal, redrawn in place by rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, final

from kimad.launch.errors import UsageError
from kimad.launch.top.plain import printable
from kimad.launch.top.sections import Section, headline, sections
from kimad.launch.top.snapshot import Snapshot

_COLOURS = {"running": "green", "ended": "cyan", "failed": "red", "waiting": "yellow"}


class Screen(Protocol):
    """Shows the latest snapshot until it is left; the last one stays on the terminal."""

    def __enter__(self) -> Screen: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, shot: Snapshot, blocks: str) -> None:
        """Draw it in the place of the one before."""


def screen() -> Screen:
    """The terminal. Raises UsageError where rich is not installed."""
    try:
        import rich.live
    except ImportError:
        raise UsageError(
            "drawing on a terminal needs rich, which is not installed; pip install 'kimad[top]', or use --plain"
        ) from None
    return _RichScreen(rich.live.Live(auto_refresh=False))


@final
class _RichScreen:
    def __init__(self, live: Any) -> None:
        self._live = live

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, shot: Snapshot, blocks: str) -> None:
        """Draw it in the place of the one before."""
        self._live.update(_drawn(shot, blocks), refresh=True)


def _drawn(shot: Snapshot, blocks: str) -> Any:
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text(printable(shot.description), style="bold"),
        Text(printable(headline(shot)), style=_COLOURS[shot.state]),
    ]
    return Group(*lines, *(_section(section) for section in sections(shot, blocks)))


def _section(section: Section) -> Any:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for index in range(len(section.rows[0])):
        last = index == len(section.rows[0]) - 1
        table.add_column(overflow="fold" if len(section.rows[0]) == 1 else "ellipsis", no_wrap=index == 0 and not last)
    for row in section.rows:
        # Text, so that no brackets in a name are taken for rich's own markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    return Panel(table, title=section.title, title_align="left", padding=(0, 1), border_style="dim")

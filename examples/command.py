"""How the examples' command lines end."""

from __future__ import annotations

from collections.abc import Sequence

import click


def run(command: click.Command, program: str, argv: Sequence[str] | None, *errors: type[Exception]) -> int:
    """Exit code of a command; bad input, click's or one of these errors, is 2 and one line on stderr."""
    try:
        return int(command.main(argv, prog_name=program, standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.ClickException as error:
        message = error.format_message()
    except errors as error:
        message = str(error)
    click.echo(f"{program}: {' '.join(message.split())}", err=True)
    return 2

"""The `kimad` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import final

import click

import kimad
from kimad.errors import KimadError


@final
class _Passthrough(click.Command):
    """Leaves its arguments to torchrun's parser, which knows torchrun's options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["argv"] = tuple(args)
        return []


@click.group(no_args_is_help=False)
@click.version_option(kimad.__version__, prog_name="kimad")
def cli() -> None:
    """Data-parallel training in PyTorch as fast as the network allows."""


@cli.command(cls=_Passthrough, add_help_option=False)
def run(argv: Sequence[str]) -> int:
    """Run a script as torchrun does, with Kimad attached to every DDP model."""
    from kimad.launch.run import run as start

    return start(argv)


@cli.command(cls=_Passthrough, add_help_option=False)
def emulate(argv: Sequence[str]) -> int:
    """Run a script on a shaped network, on this machine alone."""
    from kimad.launch.emulate import emulate as start

    return start(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Bad input: exit code 2 and one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = f"kimad {arguments[0]}" if arguments and arguments[0] in cli.commands else "kimad"
    sys.exit(_guard(command, lambda: cli.main(arguments, prog_name="kimad", standalone_mode=False)))


def _guard(command: str, call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except click.UsageError as error:
        text = f"{error.format_message()} Allowed: {', '.join(cli.commands)}; see kimad --help"
    except KimadError as error:
        text = str(error)
    print(f"{command}: {' '.join(text.split())}", file=sys.stderr)
    return 2

"""The `kimad` command. A command's module is imported when the command is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import final

import click

import kimad
from kimad.errors import KimadError

# command -> where it is, and half a sentence on it
COMMANDS = {
    "run": ("kimad.launch.run:command", "Run a script as torchrun does, with Kimad attached to every DDP model."),
    "emulate": ("kimad.launch.emulate:command", "Run a script on a shaped network, on this machine alone."),
    "simulate": ("kimad.launch.simulate:command", "Predict step times on any network, without training."),
    "trace": ("kimad.launch.trace:command", "Show, convert or generate bandwidth traces."),
    "report": ("kimad.launch.report:command", "Make one page of what runs did and why."),
    "top": ("kimad.launch.top:command", "Watch a run in the terminal."),
    "doctor": ("kimad.launch.doctor.command:command", "Say what works on this machine, and try it."),
    "bench": ("kimad.launch.bench:command", "Measure a training script, this machine, or the links between ranks."),
}


@final
class _Commands(click.Group):
    """Knows its commands by COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)  # noqa: S101
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Commands, no_args_is_help=False)
@click.version_option(kimad.__version__, prog_name="kimad")
def cli() -> None:
    """Data-parallel training in PyTorch as fast as the network allows."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Bad input: exit code 2 and one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = f"kimad {arguments[0]}" if arguments and arguments[0] in COMMANDS else "kimad"
    sys.exit(_guard(command, lambda: cli.main(arguments, prog_name="kimad", standalone_mode=False)))


def _guard(command: str, call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except click.Abort:
        return 130
    except click.UsageError as error:
        text = error.format_message()
        if command == "kimad":
            text += f" Allowed: {', '.join(COMMANDS)}; see kimad --help"
        else:
            text += f" See {command} --help"
    except KimadError as error:
        text = str(error)
    print(f"{command}: {' '.join(text.split())}", file=sys.stderr)
    return 2

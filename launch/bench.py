"""`kimad bench`: measurements of a training script, of this machine and of its links."""

from __future__ import annotations

import click

from kimad.launch.codecs import command as codecs
from kimad.launch.link.command import command as link
from kimad.launch.profile import command as profile


@click.group("bench")
def command() -> None:
    """Measure a training script, this machine, or the links between ranks."""


command.add_command(profile)
command.add_command(codecs)
command.add_command(link)

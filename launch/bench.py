"""`kimad bench`: measurements of a training script and of this machine."""

from __future__ import annotations

import click

from kimad.launch.codecs import command as codecs
from kimad.launch.profile import command as profile


@click.group("bench")
def command() -> None:
    """Measure a training script or this machine."""


command.add_command(profile)
command.add_command(codecs)

"""A click command that leaves its arguments to torchrun's parser, which knows torchrun's options."""

from __future__ import annotations

from typing import final

import click


@final
class Passthrough(click.Command):
    """Takes everything as `argv`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["argv"] = tuple(args)
        return []

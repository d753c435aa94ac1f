"""All benchmarks, one after another; results are kept in benchmarks/results."""

from __future__ import annotations

import click

from benchmarks import codecs, deciding, forecast, loop, networks, probing, progress, staleness, unequal

ALL = (
    codecs.main, forecast.main, loop.main, deciding.main, probing.main, staleness.main, unequal.main, progress.main,
    networks.main,
)  # fmt: skip


@click.command()
@click.option("--quick", is_flag=True, help="sizes that end within a minute each")
def main(quick: bool) -> None:
    """Run every benchmark and keep its rows."""
    for benchmark in ALL:
        click.echo(f"benchmarks.{benchmark.name}")
        benchmark.main(["--save", *(["--quick"] if quick else [])], standalone_mode=False)


if __name__ == "__main__":
    main()

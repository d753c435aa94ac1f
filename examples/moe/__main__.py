"""Train a mixture of experts, and decode with most of its experts elsewhere: ``python -m examples.moe``."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

import click

from examples.moe.errors import MoeError
from kimad.errors import KimadError

PROGRAM = "python -m examples.moe"
REPORT_EVERY_S = 10.0  # of progress, where stderr is no terminal
TRAINING = {"model": 700, "predictor": 1200}  # steps
QUICK_TRAINING = {"model": 3, "predictor": 3}
QUICK_SIZE = ("--layers", "2", "--width", "32", "--heads", "2", "--hidden", "32", "--experts", "8", "--context", "32")
FOLDER = click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/moe"),
                      show_default=True, help="of the trained model")  # fmt: skip
TEXT = click.option("--text", type=click.Path(path_type=Path), help="file or folder  [default: Python's library]")
JSON = click.option("--json", "as_json_only", is_flag=True, help="print figures as JSON, and nothing else, on stdout")
QUICK = click.option("--quick", is_flag=True, help="as little as possible, to see that everything works")


@click.group()
def command() -> None:
    """A byte-level mixture of experts: trained, and served from slow memory."""


def progress() -> Callable[[str], None]:
    """Writes lines to stderr: over each other on a terminal, now and then elsewhere."""
    live, last_s = sys.stderr.isatty(), [-REPORT_EVERY_S]

    def report(text: str) -> None:
        if live:
            click.echo(f"\r{text}\x1b[K", err=True, nl=False)
        elif time.monotonic() - last_s[0] >= REPORT_EVERY_S:
            last_s[0] = time.monotonic()
            click.echo(text, err=True)

    return report


@command.command()
@FOLDER
@TEXT
@QUICK
@click.option("--steps", type=click.IntRange(1), help=f"of the model  [default: {TRAINING['model']}]")
@click.option("--predictor-steps", type=click.IntRange(1), help=f"[default: {TRAINING['predictor']}]")
@click.option("--experts", type=click.IntRange(1), help="a layer  [default: 32]")
@click.option("--chosen", type=click.IntRange(1, 2), help="experts a token  [default: 1]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def train(
    folder: Path, text: Path | None, quick: bool, steps: int | None, predictor_steps: int | None,
    experts: int | None, chosen: int | None, seed: int,
) -> None:  # fmt: skip
    """Train the model and the predictor of its paths."""
    from examples.moe.learn import learn

    usual = QUICK_TRAINING if quick else TRAINING
    words = [*(QUICK_SIZE if quick else ()), "--seed", str(seed), "--steps", str(steps or usual["model"])]
    words += ["--evaluate-every", "50"]
    words += ["--text", str(text)] if text else []
    words += ["--experts", str(experts)] if experts else []
    words += ["--chosen", str(chosen)] if chosen else []
    one_thread()
    learn(folder, words, predictor_steps or usual["predictor"], progress())
    click.echo(f"{folder}: trained", err=True)


@command.command()
@FOLDER
@TEXT
@QUICK
@JSON
def bench(folder: Path, text: Path | None, quick: bool, as_json_only: bool) -> None:
    """Measure prediction, hits, decoding and scheduling of a trained model."""
    from examples.moe.bench.command import as_json, as_text, measure
    from examples.moe.text import Text, read_text

    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("this needs matplotlib: pip install 'kimad[examples]'")
    from examples.moe.bench.plot import draw

    one_thread()

    def save(report: dict[str, Any]) -> None:
        (folder / "bench.json").write_text(as_json(report), encoding="utf-8")

    report = measure(folder, Text(read_text(text)), quick, progress(), save)
    draw(report, folder / "speed.png")
    click.echo(as_json(report) if as_json_only else as_text(report), nl=not as_json_only)


@command.command()
@FOLDER
@TEXT
@QUICK
@JSON
@click.pass_context
def demo(context: click.Context, folder: Path, text: Path | None, quick: bool, as_json_only: bool) -> None:
    """Train, then measure."""
    context.invoke(train, folder=folder, text=text, quick=quick)
    context.invoke(bench, folder=folder, text=text, quick=quick, as_json_only=as_json_only)


@command.command()
@FOLDER
@JSON
@click.option("--prompt", required=True, help="text to go on from")
@click.option("--new", type=click.IntRange(1), default=64, show_default=True, help="bytes to say")
@click.option("--memory-mb", type=float, default=4.0, show_default=True, help="for experts; MB are 10^6 bytes")
@click.option("--policy", type=click.Choice(("budgeted", "predictive", "lru", "global-lru", "lfu")), default="budgeted")
@click.option("--link", help="rate between store and slots, such as const:400 (Mbit/s)  [default: as fast as it goes]")
@click.option("--server", help="HOST:PORT of `serve`  [default: the folder's own file]")
def infer(
    folder: Path, prompt: str, new: int, memory_mb: float, policy: str, link: str | None, server: str | None,
    as_json_only: bool,
) -> None:  # fmt: skip
    """Go on from a prompt, with a limit on the memory for experts."""
    from examples.moe.generate import as_text, generate
    from kimad.trace import parse_link

    def say(byte: int) -> None:
        if not as_json_only:
            sys.stdout.buffer.write(bytes([byte]))
            sys.stdout.buffer.flush()

    one_thread()
    path = parse_link(link) if link else None
    report = generate(folder, prompt.encode(), new, memory_mb, policy, path, address(server) if server else None, say)
    click.echo(dumps(asdict(report)) if as_json_only else f"\n\n{as_text(report)}")


@command.command()
@FOLDER
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="[default: any that is free]")
def serve(folder: Path, host: str, port: int) -> None:
    """Serve the experts of a trained model over TCP, until Ctrl-C. Anybody who reaches the port can read them."""
    from examples.moe.inference.file_store import FileStore
    from examples.moe.inference.folder import EXPERTS
    from examples.moe.inference.tcp_store import StoreServer

    store = FileStore(folder / EXPERTS)
    try:
        server = StoreServer(store, host, port)
    except OSError as error:
        raise MoeError(f"cannot listen at {host}:{port}: {error.strerror or error}") from None
    click.echo(f"{server.address[0]}:{server.address[1]}")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
    finally:
        server.close()
        store.close()


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises MoeError where it is something else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise MoeError(f"--server is {text!r}; allowed: HOST:PORT")
    return host, int(port)


def one_thread() -> None:
    """The engine's loader has a thread of its own, and small products gain nothing from more."""
    import torch

    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; bad input is 2 and one line on stderr."""
    try:
        return int(command.main(argv, prog_name=PROGRAM, standalone_mode=False) or 0)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        message = error.format_message()
    except (MoeError, KimadError) as error:
        message = str(error)
    click.echo(f"{PROGRAM}: {' '.join(message.split())}", err=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())

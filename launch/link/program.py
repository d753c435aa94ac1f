"""What each rank of `kimad bench link` runs: `python -m kimad.launch.link.program SECONDS TIMEOUT_S PAIRS FILE`.

Rank 0 writes what was found to FILE.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kimad import state
from kimad.files import replacing
from kimad.group import Group
from kimad.launch.link.measure import PIECE_BYTES, Found, Pair
from kimad.launch.link.result import LinkRow, Result, rows_of
from kimad.launch.process import note
from kimad.layout import Layer

COMMAND = "bench link"
ALL_UP_TO = 4  # ranks; of more, only neighbours on a ring are measured
HOST_BYTES = 64  # of a host's name
PATIENCE = 20.0  # times the seconds of a figure and of a message's timeout: how long ranks wait for others


def main(argv: Sequence[str]) -> None:
    """Measure every pair in turn, while the other ranks wait."""
    seconds, timeout_s, choice, path = float(argv[0]), float(argv[1]), argv[2], Path(argv[3])
    patience_s = PATIENCE * (seconds + timeout_s)
    dist.init_process_group("gloo", timeout=timedelta(seconds=patience_s))
    # Made where an emulated network begins, and through `state`, which an emulation replaces.
    model = DistributedDataParallel(nn.Linear(1, 1))
    layers = [Layer(COMMAND, (1,))]
    group, _ = state.make_group(model.process_group, layers, timeout_s)  # type: ignore[attr-defined]
    everyone, _ = state.make_group(model.process_group, layers, patience_s)  # type: ignore[attr-defined]
    rank, ranks = group.rank(), group.size()
    hosts = gather_names(everyone, socket.gethostname())
    rows: list[LinkRow] = []
    pairs = pairs_of(ranks, choice)
    for number, (low, high) in enumerate(pairs, start=1):
        if rank == 0 and len(pairs) > 1:
            note(COMMAND, f"pair {number} of {len(pairs)}: ranks {low} and {high}")
        found = measure(group, low, high, seconds) if rank in (low, high) else None
        rows += rows_of(low, high, share(everyone, found, low, f"ranks {low} and {high} were measured"))
    if rank == 0:
        result = Result(tuple(hosts), seconds, PIECE_BYTES, tuple(rows))
        with replacing(path) as part:
            part.write_text(json.dumps(result.to_json()), encoding="utf-8")
    dist.destroy_process_group()


def pairs_of(ranks: int, choice: str) -> list[tuple[int, int]]:
    """Which ranks are measured, the lower one first. choice: all, ring, or auto."""
    if choice == "ring" or (choice == "auto" and ranks > ALL_UP_TO):
        return sorted({(min(r, (r + 1) % ranks), max(r, (r + 1) % ranks)) for r in range(ranks)})
    return [(low, high) for low in range(ranks) for high in range(low + 1, ranks)]


def measure(group: Group, low: int, high: int, seconds: float) -> Found:
    """One pair, on one of the two. A peer that is lost ends the program, in one line."""
    peer = high if group.rank() == low else low
    try:
        return Pair(group, peer).measure(seconds)
    except RuntimeError as error:
        _end(group.rank(), f"has lost rank {peer}, or nothing came from it in time", error)


def share(everyone: Group, found: Found | None, source: int, meanwhile: str) -> Found:
    """What rank `source` found, on all ranks."""
    count = len(fields(Found))
    own = torch.tensor(astuple(found) if found is not None else [0.0] * count, dtype=torch.float64)
    table = [torch.empty_like(own) for _ in range(everyone.size())]
    _gather(everyone, table, own, meanwhile)
    return Found(*table[source].tolist())


def gather_names(everyone: Group, name: str) -> list[str]:
    """Every rank's text, cut to a fixed length."""
    own = torch.zeros(HOST_BYTES, dtype=torch.uint8)
    text = name.encode("utf-8", "replace")[:HOST_BYTES]
    own[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    table = [torch.empty_like(own) for _ in range(everyone.size())]
    _gather(everyone, table, own, "the ranks met")
    return [bytes(row.tolist()).rstrip(b"\0").decode("utf-8", "replace") for row in table]


def _gather(everyone: Group, table: list[torch.Tensor], own: torch.Tensor, meanwhile: str) -> None:
    try:
        everyone.allgather([table], [own]).wait()
    except RuntimeError as error:
        _end(everyone.rank(), f"has lost another rank while {meanwhile}", error)


def cause(error: RuntimeError) -> str:
    """gloo's first sentence, without the place in its source.

    Example:
        >>> cause(RuntimeError("[/gloo/pair.cc:553] Connection closed by peer [10.0.0.2]:6033. This is typically"))
        'Connection closed by peer [10.0.0.2]:6033'
    """
    first_line = (str(error).splitlines() or [""])[0]
    return re.sub(r"^\[[^]]*\]\s*", "", first_line).split(". ")[0]


def _end(rank: int, what: str, error: RuntimeError) -> NoReturn:
    note(COMMAND, f"rank {rank} {what}: {cause(error)}; see whether it runs, and what the network between them does")
    raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

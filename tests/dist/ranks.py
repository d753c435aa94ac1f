"""A set of ranks that lives as long as a test module: importing torch costs more than most tests."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, final

ANSWER_S = 45.0  # ranks that have not answered by then hang


@final
class RankError(Exception):
    """Something failed on at least one rank; the message has every rank's traceback."""


def serve(rank: int, world_size: int, store: str, pipe: Connection) -> None:
    """Body of one rank: calls what arrives, answers with (ok, result or traceback)."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=timedelta(seconds=30)
    )
    while (call := pipe.recv()) is not None:
        function, args = call
        faulthandler.dump_traceback_later(ANSWER_S - 5)  # where it hangs
        try:
            pipe.send((True, function(rank, *args)))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
        faulthandler.cancel_dump_traceback_later()
    dist.destroy_process_group()


@final
class Ranks:
    """`run(function, *args)` calls function(rank, *args) on every rank and returns the results by rank."""

    def __init__(self, world_size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        store = str(Path(self._folder.name) / "store")
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, world_size, store, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Results by rank. Raises RankError if any rank raised, died or did not answer."""
        for pipe in self._pipes:
            pipe.send((function, args))
        answers = []
        deadline_s = time.monotonic() + ANSWER_S
        for rank, pipe in enumerate(self._pipes):
            try:
                heard = pipe.poll(max(0.0, deadline_s - time.monotonic()))
                answers.append(pipe.recv() if heard else (False, f"rank {rank} did not answer"))
            except EOFError:
                answers.append((False, f"rank {rank} died"))
        if not all(ok for ok, _ in answers):
            raise RankError("\n".join(f"rank {r}: {a}" for r, (ok, a) in enumerate(answers) if not ok))
        return [result for _, result in answers]

    def close(self) -> None:
        """End the ranks; kills what does not end."""
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except OSError:
                continue
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()
        self._folder.cleanup()

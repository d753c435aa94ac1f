"""What an attached Kimad costs where it cannot help: an unshaped link, the demo's model, interleaved with plain DDP."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import kimad
from benchmarks.rows import Row
from examples.resnet.model import ResNet18

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 3  # steps of one model in a row, so that what happens between steps falls on the model that causes it
BATCH, IMAGE = 56, 12
LIMIT_S = 580


def overhead_rows(rounds: int, warm_up: int) -> list[Row]:
    """Median step time with Kimad / plain, less plain / plain; BLOCK pairs a round."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        subprocess.run(
            [*torchrun, "-m", "benchmarks.overhead", str(rounds), str(warm_up), str(out)],
            check=True, cwd=ROOT, timeout=LIMIT_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        times = json.loads(out.read_text(encoding="utf-8"))
    ours = [k / p for k, p in zip(times["kimad"], times["plain"], strict=True)]
    same = [o / p for o, p in zip(times["other"], times["plain"], strict=True)]
    quartiles = statistics.quantiles(ours, n=4)
    note = (
        f"{rounds * BLOCK} pairs in blocks of {BLOCK}; kimad/plain {statistics.median(ours):.3f} "
        f"({quartiles[0]:.3f}..{quartiles[2]:.3f}), plain/plain {statistics.median(same):.3f}; "
        f"{statistics.median(times['plain']) / BLOCK:.2f} s a step"
    )
    excess = statistics.median(ours) - statistics.median(same)
    return [Row("unshaped link, with Kimad / plain DDP - 1", excess, "", 0.05, "lower", note)]


def rank_main(rounds: int, warm_up: int, out: Path) -> None:
    """One rank: three models take turns, in blocks; those of the warm-up are not counted."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    models = {}
    for name in ("plain", "kimad", "other"):
        torch.manual_seed(0)
        models[name] = DistributedDataParallel(ResNet18())
    state = kimad.attach(models["kimad"])
    optimizers = {n: torch.optim.SGD(m.parameters(), lr=0.005, momentum=0.9) for n, m in models.items()}
    images, labels = torch.randn(BATCH, 3, IMAGE, IMAGE), torch.randint(10, (BATCH,))
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(warm_up + rounds):
        order = list(models) if turn % 2 else list(reversed(models))
        for name in order:
            dist.barrier()
            began_s = time.perf_counter()
            for _ in range(BLOCK):
                optimizers[name].zero_grad()
                torch.autograd.backward(cross_entropy(models[name](images), labels))
                optimizers[name].step()
            if name == "kimad":
                state.loop.drain()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - began_s)
    if dist.get_rank() == 0:
        out.write_text(json.dumps(times), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    rank_main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

"""Train ResNet-18 on digits with plain DistributedDataParallel on CPU: a script as any user might have it.

    torchrun --standalone --nproc-per-node 2 examples/resnet/train.py --steps 8

It knows nothing of Kimad. (No ``from __future__ import annotations`` here: DDP compares a comm hook's annotations
with types, and would refuse their text.)
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that the script runs from any folder

from examples.ranks import bfloat16_all_reduce, identical
from examples.resnet.data import Batches, load_digits
from examples.resnet.model import ResNet18

GATHER_EVERY_STEPS = 10  # losses of all ranks and rank 0's clock travel together, once in so many steps
MOMENTUM = 0.9


@dataclass(frozen=True)
class StepLog:
    """One line of the log; times are rank 0's."""

    step: int  # 1 for the first
    t_s: float  # end of the step, since training started
    monotonic_s: float  # the same on the machine's monotonic clock
    step_s: float  # from drawing the batch to the optimizer's end
    loss: float  # mean over ranks, of the batch that the step learned from


def parse_arguments() -> argparse.Namespace:
    """The options; every rank is given the same."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=70, help="train at least so many steps")
    parser.add_argument("--seconds", type=float, default=0.0, help="train at least so many seconds")
    parser.add_argument("--batch", type=int, default=56, help="images per rank and step")
    parser.add_argument("--image-size", type=int, default=12, help="pixels; the digits have 8")
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate after the warm-up")
    parser.add_argument("--warmup-steps", type=int, default=20, help="steps of linear warm-up")
    parser.add_argument("--noise", type=float, default=0.3, help="of the pixels, in standard deviations")
    parser.add_argument("--shift", type=int, default=2, help="largest random shift of an image, in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-file", type=Path, help="write one JSON line a step (torchrun takes --log for its own)")
    parser.add_argument("--comm", choices=("none", "bf16"), default="none", help="torch's own compression, or none")
    parser.add_argument("--check-ranks", action="store_true", help="exit with 1 unless all ranks end bit-identical")
    return parser.parse_args()


def train(options: argparse.Namespace) -> Iterator[list[StepLog]]:
    """Train, and yield the log of ``GATHER_EVERY_STEPS`` steps at a time."""
    torch.manual_seed(options.seed)
    rank, world_size = dist.get_rank(), dist.get_world_size()
    batches = Batches(
        load_digits(options.image_size),
        options.batch,
        seed=options.seed,
        rank=rank,
        noise=options.noise,
        shift=options.shift,
    )
    model = DistributedDataParallel(ResNet18())
    if options.comm == "bf16":
        model.register_comm_hook(dist.group.WORLD, bfloat16_all_reduce)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / max(1, options.warmup_steps))
    )
    start_s = time.monotonic()
    step, elapsed_s = 0, 0.0
    while step < options.steps or elapsed_s < options.seconds:
        left = options.steps - step
        ends_s: list[float] = []
        steps_s: list[float] = []
        losses: list[torch.Tensor] = []
        for _ in range(min(GATHER_EVERY_STEPS, left) if left > 0 else GATHER_EVERY_STEPS):
            begin_s = time.monotonic()
            images, labels = batches.draw()
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            ends_s.append(time.monotonic())
            steps_s.append(ends_s[-1] - begin_s)
            losses.append(loss.detach())
        clock_s = ends_s[-1] - start_s if rank == 0 else 0.0
        shared = torch.cat([torch.stack(losses).double() / world_size, torch.tensor([clock_s], dtype=torch.float64)])
        dist.all_reduce(shared)
        *mean_losses, elapsed_s = shared.tolist()
        yield [
            StepLog(step + index + 1, ends_s[index] - start_s, ends_s[index], steps_s[index], mean_loss)
            for index, mean_loss in enumerate(mean_losses)
        ]
        step += len(mean_losses)
    if options.check_ranks and not identical(model):
        raise SystemExit(f"rank {rank}: the parameters differ between ranks")


def write(log: TextIO, lines: list[StepLog]) -> None:
    """Append the lines as JSON, and let a reader see them at once."""
    log.writelines(json.dumps(asdict(line)) + "\n" for line in lines)
    log.flush()


def main() -> None:
    """Join the group that torchrun describes, train, and leave it."""
    options = parse_arguments()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    log = None
    if options.log_file and dist.get_rank() == 0:
        options.log_file.parent.mkdir(parents=True, exist_ok=True)
        log = options.log_file.open("w", encoding="utf-8")
    try:
        for lines in train(options):
            if log is not None:
                write(log, lines)
    finally:
        if log is not None:
            log.close()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

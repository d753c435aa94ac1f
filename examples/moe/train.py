"""Train a byte-level mixture of experts with plain DistributedDataParallel on CPU: a script as any user might have it.

    torchrun --standalone --nproc-per-node 2 examples/moe/train.py --steps 8

It knows nothing of Kimad. (No ``from __future__ import annotations`` here: DDP compares a comm hook's annotations
with types, and would refuse their text.)
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that the script runs from any folder

from examples.moe import checkpoint
from examples.moe.config import ModelConfig
from examples.moe.errors import MoeError
from examples.moe.model import LanguageModel
from examples.moe.text import Text, read_text
from examples.ranks import bfloat16_all_reduce, identical

CLIP = 1.0  # largest norm of the gradient
HELD_OUT = 16  # windows of held-out text that an evaluation reads


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; every rank is given the same."""
    size = ModelConfig()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("layers", "width", "heads", "hidden", "experts", "chosen", "context"):
        parser.add_argument(f"--{name}", type=int, default=getattr(size, name), help="of the model")
    parser.add_argument("--text", type=Path, help="file or folder; the Python standard library's sources if left out")
    parser.add_argument("--steps", type=int, default=300, help="train until so many steps have been taken")
    parser.add_argument("--batch", type=int, default=24, help="sequences a step, all ranks together")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate of Adam after the warm-up")
    parser.add_argument("--warmup-steps", type=int, default=30, help="steps of linear warm-up")
    parser.add_argument("--balance", type=float, default=0.01, help="weight of the load-balancing loss")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-file", type=Path, help="write one JSON line a step (torchrun takes --log for its own)")
    parser.add_argument("--evaluate-every", type=int, default=0, help="steps between held-out losses; 0 for none")
    parser.add_argument("--save", type=Path, help="write a checkpoint at the end")
    parser.add_argument("--resume", type=Path, help="go on from a checkpoint, with the same data as without the stop")
    parser.add_argument("--comm", choices=("none", "bf16"), default="none", help="torch's own compression, or none")
    parser.add_argument("--check-ranks", action="store_true", help="exit with 1 unless all ranks end bit-identical")
    return parser.parse_args(arguments)


def model_config(options: argparse.Namespace) -> ModelConfig:
    """The model's size from the options."""
    names = ("layers", "width", "heads", "hidden", "experts", "chosen", "context")
    return ModelConfig(**{name: getattr(options, name) for name in names})


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean nats a byte."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def evaluate(model: LanguageModel, text: Text) -> float:
    """Held-out nats a byte."""
    windows = text.held_out(HELD_OUT, model.config.context)
    return float(cross_entropy(model(windows[:, :-1]).logits, windows[:, 1:]))


def train(options: argparse.Namespace, report: Callable[[dict[str, float]], None] | None) -> None:
    """Train to ``--steps``, and report every step's figures, if asked to; only rank 0 should be.

    Raises:
        MoeError: an option that cannot be used.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if options.batch < world_size or options.batch % world_size:
        raise MoeError(f"--batch is {options.batch}; allowed: a multiple of the {world_size} ranks")
    text = Text(read_text(options.text))
    torch.manual_seed(options.seed)
    model = LanguageModel(model_config(options))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)
    step = first = 0
    if options.resume:
        found = checkpoint.load(options.resume)
        if found["config"] != asdict(model.config):
            raise MoeError(f"--resume {options.resume} is of another size: {found['config']}")
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        step = first = int(found["step"])
    # An expert that no token of any rank goes to has no gradient, and DDP must not wait for one.
    ddp = DistributedDataParallel(model, find_unused_parameters=True)
    if options.comm == "bf16":
        ddp.register_comm_hook(dist.group.WORLD, bfloat16_all_reduce)
    start_s = time.monotonic()
    for step in range(first + 1, options.steps + 1):
        begin_s = time.monotonic()
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)  # a step's own data
        windows = text.draw(generator, options.batch, model.config.context)[rank::world_size]
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min(1.0, step / max(1, options.warmup_steps))
        optimizer.zero_grad()
        output = ddp(windows[:, :-1])
        loss = cross_entropy(output.logits, windows[:, 1:])
        (loss + options.balance * output.balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        step_s = time.monotonic() - begin_s
        evaluated = options.evaluate_every > 0 and step % options.evaluate_every == 0
        if report is not None:
            line = {"step": step, "t_s": time.monotonic() - start_s, "step_s": step_s, "loss": loss.item()}
            line |= {"balance": output.balance.item()}
            line |= {"validation": evaluate(model, text)} if evaluated else {}
            report(line)
    if options.check_ranks and not identical(model):
        raise SystemExit(f"rank {rank}: the parameters differ between ranks")
    if options.save and rank == 0:
        checkpoint.save(options.save, model, optimizer=optimizer.state_dict(), step=step)


def main() -> int:
    """Join the group that torchrun describes, train, and leave it."""
    options = parse_arguments()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    log = None
    if options.log_file and dist.get_rank() == 0:
        options.log_file.parent.mkdir(parents=True, exist_ok=True)
        log = options.log_file.open("w", encoding="utf-8", buffering=1)  # a line at a time
    try:
        train(options, None if log is None else lambda line: print(json.dumps(line), file=log))
    except MoeError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    finally:
        if log is not None:
            log.close()
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())

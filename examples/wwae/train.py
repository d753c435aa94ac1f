"""Train one auto-encoder with plain DistributedDataParallel on CPU: a script as any user might have it.

    torchrun --standalone --nproc-per-node 2 examples/wwae/train.py --steps 100

It knows nothing of Kimad. (No ``from __future__ import annotations`` here: DDP compares a comm hook's annotations
with types, and would refuse their text.)
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that the script runs from any folder

from examples.data.dataset import DataError
from examples.data.load import NAMES, load_dataset
from examples.metrics.features import fit_features
from examples.ranks import identical
from examples.wwae.evaluate import scores
from examples.wwae.moments import over_ranks, own
from examples.wwae.objective import KINDS, Method, ObjectiveError
from examples.wwae.training import Settings, make_model, train


def parse_arguments() -> argparse.Namespace:
    """The options; every rank is given the same."""
    default = Settings(Method("wwae", 0.3))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", default=default.method.kind, help=", ".join(KINDS))
    parser.add_argument("--weight", type=float, default=default.method.weight, help="lambda; a VAE's decoder variance")
    parser.add_argument(
        "--moments", choices=("global", "local"), default="global", help="over all ranks, or each alone"
    )
    parser.add_argument("--data", default="digits", help=NAMES)
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch", type=int, default=default.batch, help="images a step, all ranks together")
    parser.add_argument("--lr", type=float, default=default.rate, help="learning rate at the start")
    parser.add_argument("--latent", type=int, default=default.latent, help="dimensions of the latent space")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--log-file", type=Path, help="write one JSON line a step (torchrun takes --log for its own)")
    parser.add_argument(
        "--evaluate-every", type=int, default=0, help="steps between two looks at test data; 0 for none"
    )
    parser.add_argument("--check-ranks", action="store_true", help="exit with 1 unless all ranks end bit-identical")
    return parser.parse_args()


def run(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Train, and yield a line of the log a step. Raises DataError and ObjectiveError."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    method = Method(options.kind, options.weight)
    if options.batch < world_size or options.batch % world_size:
        raise ObjectiveError(f"--batch is {options.batch}; it must be a multiple of the {world_size} ranks")
    settings = Settings(method, options.steps, options.batch, options.lr, options.latent, options.seed)
    dataset = load_dataset(options.data, options.seed)
    looks = options.evaluate_every > 0 and rank == 0
    features = fit_features(dataset) if looks else None
    model = make_model(settings, dataset)
    shared = over_ranks if options.moments == "global" and world_size > 1 else own
    ddp = DistributedDataParallel(model)
    begin_s = time.monotonic()
    aside_s = 0.0  # spent on looking
    steps = train(ddp, ddp.parameters(), settings, dataset, rank, world_size, shared)
    for step, parts in enumerate(steps, 1):
        line = {"step": step, "t_s": time.monotonic() - begin_s - aside_s}
        line |= {"loss": parts.total.item(), "reconstruction": float(parts.reconstruction)}
        line |= {"penalty": float(parts.penalty)}
        if features is not None and step % options.evaluate_every == 0:
            before_s = time.monotonic()
            line |= {
                f"test_{name}": value for name, value in asdict(scores(model, method, features, dataset.test)).items()
            }
            aside_s += time.monotonic() - before_s
        yield line
    if options.check_ranks and not identical(model):
        raise SystemExit(f"rank {rank}: the parameters differ between ranks")


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
        for line in run(options):
            if log is not None:
                print(json.dumps(line), file=log)
    except (DataError, ObjectiveError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    finally:
        if log is not None:
            log.close()
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())

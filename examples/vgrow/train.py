"""VGrow with plain DistributedDataParallel on CPU: a script as any user might have it, with two models.

    torchrun --standalone --nproc-per-node 2 examples/vgrow/train.py --rounds 5

It knows nothing of Kimad. (No ``from __future__ import annotations`` here: DDP compares a comm hook's annotations
with types, and would refuse their text.)
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that the script runs from any folder

from examples.data.dataset import DataError
from examples.data.load import NAMES
from examples.metrics.features import fit_features
from examples.ranks import identical
from examples.vgrow.divergence import DIVERGENCES, DivergenceError, find
from examples.vgrow.evaluate import image_scores, plane_scores
from examples.vgrow.target import make_target
from examples.vgrow.training import Settings, generated, make_networks, settings_for, vgrow

JUDGED = 1000  # generated rows that a look is at


def parse_arguments() -> argparse.Namespace:
    """The options; every rank is given the same. What is left out suits the data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help=f"ring, grid25, {NAMES}")
    parser.add_argument("--divergence", default="kl", help=", ".join(DIVERGENCES))
    parser.add_argument("--rounds", type=int, help="of particles and regression")
    parser.add_argument("--pool", type=int, help="particles, all ranks together")
    parser.add_argument("--inner", type=int, help="steps of critic and particles a round")
    parser.add_argument("--batch", type=int, help="rows a step, all ranks together")
    parser.add_argument("--step", type=float, help="of the particles")
    parser.add_argument("--penalty", type=float, help="R1 of the critic; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-file", type=Path, help="write one JSON line a round (torchrun takes --log for its own)")
    parser.add_argument("--evaluate-every", type=int, default=0, help="rounds between looks at test data; 0: none")
    parser.add_argument("--check-ranks", action="store_true", help="exit with 1 unless all ranks end bit-identical")
    return parser.parse_args()


def settings_of(options: argparse.Namespace, world_size: int) -> Settings:
    """From the options. Raises DivergenceError for one that cannot be used."""
    names = ("rounds", "pool", "inner", "batch", "step", "penalty")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    settings = replace(settings_for(options.data), divergence=find(options.divergence).name, seed=options.seed, **given)
    for name in ("rounds", "pool", "inner", "batch"):
        if getattr(settings, name) < 1:
            raise DivergenceError(f"--{name} is {getattr(settings, name)}; it must be 1 or more")
    for name in ("batch", "pool"):
        if getattr(settings, name) % world_size:
            raise DivergenceError(
                f"--{name} is {getattr(settings, name)}; it must be a multiple of the {world_size} ranks"
            )
    if not 0 < settings.step < float("inf") or not 0 <= settings.penalty < float("inf"):
        raise DivergenceError(
            f"--step is {settings.step:g} and --penalty {settings.penalty:g}; neither may be negative"
        )
    return settings


def run(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Train, and yield a line of the log a round. Raises DataError and DivergenceError."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    settings = settings_of(options, world_size)
    target = make_target(options.data, options.seed)
    networks = make_networks(settings, target)
    looks = options.evaluate_every > 0 and rank == 0
    features = fit_features(target.dataset) if looks and target.dataset is not None else None
    called = DistributedDataParallel(networks[0]), DistributedDataParallel(networks[1])
    begin_s = time.monotonic()
    aside_s = 0.0  # spent on looking
    for number, done in enumerate(vgrow(networks, settings, target, rank, world_size, called), 1):
        line = {"round": number, "t_s": time.monotonic() - begin_s - aside_s}
        line |= {"critic_loss": done.critic_loss, "generator_loss": done.generator_loss}
        if looks and number % options.evaluate_every == 0:
            before_s = time.monotonic()
            rows = generated(networks[0], JUDGED)
            judged = image_scores(target, features, rows) if features is not None else plane_scores(target, rows)
            line |= {f"test_{name}": value for name, value in judged.items()}
            aside_s += time.monotonic() - before_s
        yield line
    if options.check_ranks and not identical(*networks):
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
    except (DataError, DivergenceError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    finally:
        if log is not None:
            log.close()
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())

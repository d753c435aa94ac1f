"""How long a layer may wait: training with the two bounds of staleness and without, `python -m benchmarks.staleness`.

Small networks learn digits on two ranks in this process: the runtime's own coders, residuals and planner, an exact
link, and a clock of predicted seconds. A "quiet" layer is one whose gradient is small, though Adam makes as much of it
as of any other. Times to a training loss, with both bounds and with neither, are compared seed by seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rows import NEVER, Row, command
from kimad import Config
from kimad.coder import Bucket, Coder
from kimad.decide import Observation, Planner, curves_due, first_plan
from kimad.layout import Layer, pack
from kimad.monitor import LinkSample, LinkSamples
from kimad.residual import Residual
from kimad.statistics import OPERATORS, Everyone, Statistics, StepLog
from kimad.timeline import finish_s

Floats = NDArray[np.float64]

RANKS, BATCH = 2, 16
COMPUTE_S = 0.05  # of a step
EVERY = 10  # steps between two looks at the loss
UNBOUND_STEPS, UNBOUND_FACTOR = 1 << 30, 1e30
DEFAULT = Config()


@final
@dataclass(frozen=True)
class Task:
    """A network, how it learns, and how far."""

    name: str
    optimizer: str  # "adam" or "sgd"
    learning_rate: float
    quiet: float  # factor on the gradient of the middle layer; 1 for none
    loss: float  # wanted, on all images
    steps: int  # at most


TASKS = (
    Task("MLP, SGD", "sgd", 0.1, 1.0, 0.1, 900),
    Task("MLP, Adam", "adam", 1e-3, 1.0, 0.1, 900),
    Task("MLP with a quiet layer, Adam", "adam", 1e-3, 0.03, 0.1, 900),
)
RHO = (10.0, 100.0)  # seconds of the dense gradient over seconds of computing


@final
class Scaled(nn.Module):
    """A linear layer y = s V x: the gradient of V is s times that of W = s V."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self._scale = scale
        self.linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            self.linear.weight.div_(scale)
            self.linear.bias.div_(scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) * self._scale
        return y


def network(task: Task) -> nn.Sequential:
    """64 - 192 - 192 - 192 - 10."""
    middle = nn.Linear(192, 192) if task.quiet == 1 else Scaled(192, 192, task.quiet)
    first, last = nn.Linear(64, 192), nn.Linear(192, 10)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), nn.Linear(192, 192), nn.ReLU(), last)


@final
class Together:
    """All ranks of a training in one process."""

    def __init__(self, config: Config, named: Sequence[tuple[str, Tensor]], rho: float) -> None:
        self._layers = [Layer(name, tuple(p.shape)) for name, p in named]
        self.order = list(reversed(range(len(self._layers))))  # as DDP has them: two layers, a bucket
        self.buckets = [self.order[at : at + 2] for at in range(0, len(self.order), 2)]
        self._slots = [pack(self._layers[i] for i in bucket) for bucket in self.buckets]
        self._config = config
        self._bps = 8 * sum(layer.nbytes for layer in self._layers) / (rho * COMPUTE_S)
        count = len(self.buckets)
        self._ready_s = COMPUTE_S * (1 / 3 + 2 / 3 * np.arange(1, count + 1) / count)
        nothing = np.zeros(len(OPERATORS))
        own = Statistics(
            False, 0.0, (0, 0.0), (0, 0.0), self._ready_s, 0.0, 0.0, 0.0, COMPUTE_S, nothing, nothing,
            np.zeros(len(self._layers), bool),
        )  # fmt: skip
        self._everyone = Everyone.of([own] * RANKS)
        self._residuals = [Residual() for _ in range(RANKS)]
        self._coders = [Coder(residual, RANKS, rank) for rank, residual in enumerate(self._residuals)]
        self._planner = Planner(config, self._layers, RANKS, explain=False)
        self.plan = first_plan(config, self._layers, RANKS)
        self._reads = curves_due(config, 0)
        self.now_s = 0.0
        self.waited = dict.fromkeys((layer.name for layer in self._layers), 0)  # steps without anything sent
        self.longest_wait = 0
        self.largest_factor = 0.0  # owed / gradient, squared norms, of any layer at any reading

    def average(self, flat: list[list[Tensor]]) -> list[Tensor]:
        """One step. flat: each rank's buckets; returns their average, in the memory of the first rank's."""
        logs = [StepLog(self.now_s) for _ in range(RANKS)]
        link_s = np.zeros((1, len(self._slots)))
        for b, slots in enumerate(self._slots):
            sent = [
                coder.encode(Bucket(self.plan.step, b, own[b], slots), self.plan, log, self._reads)
                for coder, own, log in zip(self._coders, flat, logs, strict=True)
            ]
            frames = [one.payload for one in sent] if sent[0].mode == "frames" else []
            for other in sent[1:] if not frames else ():
                sent[0].payload.add_(other.payload)
            self._coders[0].decode(sent[0], frames, logs[0])
            link_s[0, b] = 8 * self.plan.wire_bytes(slots, RANKS) / self._bps
        for residual in self._residuals:
            residual.end_step(set())
        self.now_s += float(finish_s(self._ready_s, link_s, np.zeros_like(link_s))[0])
        self._decide(logs)
        return flat[0]

    def _decide(self, logs: list[StepLog]) -> None:
        curves: Floats | None = None
        gradient: Floats | None = None
        if self._reads:
            names = [layer.name for layer in self._layers]
            curves = np.sum([np.stack([log.energy[name] for name in names]) for log in logs], axis=0)
            gradient = np.sum([[log.gradient_square[name] for name in names] for log in logs], axis=0)
            self.largest_factor = max(self.largest_factor, float((curves[:, -1] / np.maximum(gradient, 1e-30)).max()))
        sample = LinkSample(self.now_s, self._bps, 1 << 20, 1.0)
        buckets = tuple(tuple(slot.layer for slot in slots) for slots in self._slots)
        seen = Observation(self.now_s, buckets, self._everyone, LinkSamples.of([sample] * RANKS), curves, gradient)
        for name, option in self.plan.options.items():
            self.waited[name] = self.waited[name] + 1 if option.operator == "drop" else 0
        self.longest_wait = max(self.longest_wait, *self.waited.values())
        self._planner.observe(seen)
        self.plan = self._planner.decide(self.plan, self.now_s).plan
        self._reads = curves_due(self._config, self.plan.step, seen)


@final
@dataclass(frozen=True)
class Outcome:
    """What one training came to."""

    seconds: float  # until the loss; NEVER if it was not reached
    longest_wait: int  # steps
    largest_factor: float  # owed / gradient


def train(task: Task, config: Config, rho: float, seed: int) -> Outcome:
    """Train until the loss is reached, or the steps are used up."""
    torch.manual_seed(seed)
    digits = load_digits()
    x, y = torch.from_numpy(digits.data[:1500] / 16).float(), torch.from_numpy(digits.target[:1500])
    model = network(task)
    named = list(model.named_parameters())
    optimizer: torch.optim.Optimizer
    if task.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=task.learning_rate)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=task.learning_rate, momentum=0.9)
    together = Together(config, named, rho)
    random = torch.Generator().manual_seed(seed)
    for step in range(task.steps):
        flat = []
        for _ in range(RANKS):
            picked = torch.randint(len(x), (BATCH,), generator=random)
            loss = functional.cross_entropy(model(x[picked]), y[picked])
            gradients = torch.autograd.grad(loss, [p for _, p in named])
            flat.append([torch.cat([gradients[i].flatten() for i in bucket]) for bucket in together.buckets])
        for bucket, average in zip(together.buckets, together.average(flat), strict=True):
            parts = torch.split(average, [named[i][1].numel() for i in bucket])
            for i, part in zip(bucket, parts, strict=True):
                named[i][1].grad = part.view_as(named[i][1])
        optimizer.step()
        if step % EVERY == EVERY - 1:
            with torch.no_grad():
                if float(functional.cross_entropy(model(x), y)) <= task.loss:
                    return Outcome(together.now_s, together.longest_wait, together.largest_factor)
    return Outcome(NEVER, together.longest_wait, together.largest_factor)


def compare(task: Task, rho: float, seeds: Sequence[int], **bounds: float) -> tuple[float, str, Outcome]:
    """Time without any bound / time with these, geometric mean over seeds; its spread; and the worst of them."""
    free = Config(max_drop_steps=UNBOUND_STEPS, max_owed_factor=UNBOUND_FACTOR)
    bound = Config(**{"max_drop_steps": UNBOUND_STEPS, "max_owed_factor": UNBOUND_FACTOR, **bounds})  # type: ignore[arg-type]
    before = [train(task, free, rho, seed) for seed in seeds]
    after = [train(task, bound, rho, seed) for seed in seeds]
    gains = [b.seconds / a.seconds for b, a in zip(before, after, strict=True)]
    said = f"by seed {', '.join(f'{g:.2f}' for g in gains)}; longest wait {max(a.longest_wait for a in after)} steps,"
    said += f" without {max(b.longest_wait for b in before)}; owed / gradient at most"
    said += f" {max(a.largest_factor for a in after):.3g}, without {max(b.largest_factor for b in before):.3g}"
    worst = Outcome(0.0, max(a.longest_wait for a in after), max(a.largest_factor for a in after))
    return statistics.geometric_mean(gains), said, worst


def measure(quick: bool) -> list[Row]:
    """The defaults against no bound at all, and the longest wait under them."""
    torch.set_num_threads(1)
    rows = []
    default = {"max_drop_steps": DEFAULT.max_drop_steps, "max_owed_factor": DEFAULT.max_owed_factor}
    for task in TASKS[-1:] if quick else TASKS:
        for rho in RHO[-1:] if quick else RHO:
            gain, said, worst = compare(task, rho, range(1 if quick else 4), **default)
            name = f"{task.name}, rho {rho:g}"
            rows.append(Row(f"{name}: time to loss, unbounded / bounded", gain, "x", 0.97, "higher", said))
            wait = float(worst.longest_wait)
            rows.append(Row(f"{name}: longest wait of a layer", wait, "steps", DEFAULT.max_drop_steps, "lower"))
    return rows


main = command("staleness", measure)

if __name__ == "__main__":
    main()
